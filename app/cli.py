"""The command `parley` (operations.md 1)."""

import sys
from typing import Annotated

import typer

from app.domain.errors import ParleyError
from app.settings import Settings, SettingsRefused, read_settings

app = typer.Typer(name="parley", help="Conversations over your documents.", no_args_is_help=True, add_completion=False)


@app.callback()
def _root() -> None:
    pass


@app.command()
def serve(
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Processes that answer; else PARLEY_WORKERS.")] = None,
) -> None:
    """Serve until Ctrl-C."""
    from app.serving import serve as run

    settings = _settings()
    if workers is not None:
        settings = settings.model_copy(update={"workers": workers})
    run(settings)


def _settings() -> Settings:
    return read_settings()


def main() -> None:
    """Run the command; 1 when it fails, 2 when it was asked wrongly."""
    try:
        app()
    except SettingsRefused as error:
        for line in error.message.splitlines():
            sys.stderr.write(f"parley: {line}\n")
        sys.exit(2)
    except ParleyError as error:
        sys.stderr.write(f"parley: {error.message}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
