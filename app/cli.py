"""The command `parley` (operations.md 1)."""

import sys
from typing import Annotated

import typer

from app.commands import demo, doctor, identity, migrate, talking
from app.commands.telling import tell_json
from app.domain.errors import ParleyError
from app.llm.entries import ModelsFileInvalid
from app.settings import SettingsRefused, read_settings

_HELP = "Conversations over your documents: durable sessions, resumable streams, an OpenAI-compatible surface."


def build() -> typer.Typer:
    """Return the command with all that is beneath it."""
    app = typer.Typer(
        name="parley", help=_HELP, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
    )
    for command in (serve, worker, migrate.migrate, talking.ingest, talking.ask, doctor.doctor, demo.demo, openapi):
        app.command()(command)
    app.add_typer(identity.keys, name="keys")
    app.add_typer(identity.tenants, name="tenants")
    return app


def serve(
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer; else PARLEY_WORKERS.")
    ] = None,
) -> None:
    """Serve until Ctrl-C, with the database it needs."""
    from app.serving.serve import serve as run_service  # takes a second, which no other command has to wait

    settings = read_settings()
    run_service(settings if workers is None else settings.model_copy(update={"workers": workers}))


def worker() -> None:
    """Parse documents until Ctrl-C; `parley serve` starts such a process by itself when there is work."""
    from app.serving.worker_process import work_in_foreground

    work_in_foreground(read_settings())


def openapi() -> None:
    """Print the OpenAPI schema; needs no database."""
    from app.main import describe

    tell_json(describe())


def main() -> None:
    """Run the command; 1 when it fails, 2 when it was asked wrongly."""
    try:
        build()()
    except (SettingsRefused, ModelsFileInvalid) as error:
        _say(str(error))
        sys.exit(2)
    except ParleyError as error:
        _say(error.message)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _say(message: str) -> None:
    for line in message.splitlines():
        sys.stderr.write(f"parley: {line}\n")


if __name__ == "__main__":
    main()
