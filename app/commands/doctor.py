"""`parley doctor`: looks at all the service needs, and says of each fault how to mend it."""

import os
import shutil
import stat
from collections.abc import AsyncGenerator, Callable
from dataclasses import asdict
from pathlib import Path

import anyio
import typer

from app.commands.telling import AsJson, tell, tell_json
from app.db.soundness import Finding, look_at
from app.domain.errors import ParleyError, UpstreamFailed
from app.llm.embedded_server import model_path
from app.llm.entries import ModelEntry, ModelsFileInvalid
from app.net.http import HttpClient, HttpConfig
from app.serving.home import home_for_a_moment, reaching
from app.settings import Settings, read_settings
from migrations.run import SchemaBehind, check

_LEAST_FREE_BYTES = 1024**3
_PATIENCE_S = 8.0


def doctor(as_json: AsJson = False) -> None:
    """Check settings, database, tenant wall, models and disk; 1 when something is wrong."""
    settings = read_settings()
    findings = [Finding(name="settings", told="read"), *_folder(settings)]
    try:
        with home_for_a_moment(settings) as home, reaching(home.app_url):
            findings += anyio.run(_gathered, _database, home.app_url)
    except ParleyError as error:
        fix = "see that it runs and takes this role" if settings.database_url else "see postgres.log in its folder"
        findings.append(Finding(name="database", told=error.message, fix=fix))
    findings += anyio.run(_gathered, _models, settings)
    if as_json:
        tell_json([asdict(finding) | {"is_fine": finding.is_fine} for finding in findings])
    else:
        for finding in findings:
            tell(f"{'ok   ' if finding.is_fine else 'FAULT'} {finding.name}: {finding.told}")
            if finding.fix:
                tell(f"      fix: {finding.fix}")
    if not all(finding.is_fine for finding in findings):
        raise typer.Exit(1)


async def _gathered(look: Callable[..., AsyncGenerator[Finding, None]], what: object) -> list[Finding]:
    return [finding async for finding in look(what)]


def _folder(settings: Settings) -> list[Finding]:
    folder = settings.data_dir.absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free
    told = f"{free / 1024**3:.1f} GiB free under {folder}"
    findings = [
        Finding(name="disk", told=told, fix="" if free >= _LEAST_FREE_BYTES else "free some, or set PARLEY_DATA_DIR")
    ]
    if not os.access(there, os.W_OK):
        findings.append(Finding(name="data directory", told=f"{there} cannot be written", fix="set PARLEY_DATA_DIR"))
    findings += [_private(folder / name) for name in ("secret-key", "api-key") if (folder / name).exists()]
    if settings.database_url is not None and settings.secret_key is None:
        findings.append(
            Finding(
                name="secret key",
                told=f"is a file of this machine only ({folder / 'secret-key'})",
                fix="set PARLEY_SECRET_KEY, the same on every machine that shares the database",
            )
        )
    return findings


def _private(path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    return Finding(
        name=path.name, told=f"{path} has mode {mode:04o}", fix=f"chmod 600 '{path}'" if mode & 0o077 else ""
    )


async def _database(url: str) -> AsyncGenerator[Finding, None]:
    for finding in await look_at(url):
        yield finding
    try:
        await check(url)
    except SchemaBehind as error:
        yield Finding(name="migrations", told=error.message, fix="run `parley migrate`")
    else:
        yield Finding(name="migrations", told="all have run")


async def _models(settings: Settings) -> AsyncGenerator[Finding, None]:
    try:
        from app.building.models import entries  # takes a second, which other commands do not wait

        configured = entries(settings)
    except ModelsFileInvalid as error:
        yield Finding(name="models", told=str(error), fix="mend PARLEY_MODELS_FILE")
        return
    async with HttpClient(HttpConfig(connect_timeout_s=settings.connect_timeout)) as http:
        for entry in configured:
            if not entry.is_usable:
                yield Finding(name=f"model {entry.wire_name}", told="is known, but has no key: it cannot be used")
            elif not entry.is_builtin:
                for address in entry.addresses:
                    yield await _reached(http, entry, address.base_url, address.api_key)
    if not any(entry.kind == "chat" and entry.is_usable for entry in configured):
        yield _embedded()


async def _reached(http: HttpClient, entry: ModelEntry, base_url: str, key: str | None) -> Finding:
    name = f"model {entry.wire_name} ({entry.kind})"
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        answer, _ = await http.fetch(
            "GET", f"{base_url.rstrip('/')}/models", until_s=anyio.current_time() + _PATIENCE_S, headers=headers
        )
    except UpstreamFailed as error:
        return Finding(name=name, told=f"{base_url}: {error.message}", fix="see that it runs, and mend its base URL")
    if answer.status in (401, 403):
        return Finding(name=name, told=f"{base_url} refuses the key ({answer.status})", fix="mend its API key")
    fix = "see why it fails" if answer.status >= 500 else ""
    return Finding(name=name, told=f"{base_url} answers ({answer.status})", fix=fix)


def _embedded() -> Finding:
    try:
        path = model_path()
    except FileNotFoundError as error:
        return Finding(name="embedded chat model", told=str(error), fix="install it, or set PARLEY_LLM_BASE_URL")
    return Finding(name="embedded chat model", told=f"{path.name}, for a first try")
