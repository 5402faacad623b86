"""Settings are read from the environment and a file; what cannot be used is refused by name, without its secrets."""

from pathlib import Path

import pytest

from app.building import built
from app.main import build_app
from app.settings import SettingsRefused, read_settings
from tests.conftest import PEPPER
from tests.pg import DatabaseUrls


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in [name for name in os.environ if name.startswith("PARLEY_")]:
        monkeypatch.delenv(name)


def test_without_any_the_service_has_its_own_database() -> None:
    settings = read_settings(None)
    assert settings.is_embedded
    assert (settings.host, settings.port, settings.workers, settings.drain) == ("127.0.0.1", 9380, 1, 30)


def test_the_environment_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PARLEY_PORT=1\nexport PARLEY_HOST=::1\n# PARLEY_NONSENSE=1\n")
    monkeypatch.setenv("PARLEY_PORT", "2")
    settings = read_settings(file)
    assert (settings.port, settings.host) == (2, "::1")


def test_everything_wrong_is_told_at_once_a_line_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("PARLEY_IN_THE_FILE=1\n")
    monkeypatch.setenv("PARLEY_IN_THE_ENVIRONMENT", "1")
    monkeypatch.setenv("PARLEY_WORKERS", "0")
    monkeypatch.setenv("PARLEY_DRAIN", "soon")
    with pytest.raises(SettingsRefused) as refused:
        read_settings(file)
    lines = refused.value.message.splitlines()
    assert [line.split(":")[0] for line in lines] == [
        "PARLEY_IN_THE_ENVIRONMENT",
        "PARLEY_IN_THE_FILE",
        "PARLEY_WORKERS",
        "PARLEY_DRAIN",
    ]


def test_a_database_is_reached_by_asyncpg_whatever_its_url_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_DATABASE_URL", "postgres://parley_app:s%40cret@db:5432/parley")
    url = read_settings(None).database_url
    assert url == "postgresql+asyncpg://parley_app:s%40cret@db:5432/parley"


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_API_KEY", "canary-1")
    monkeypatch.setenv("PARLEY_SECRET_KEY", "canary-2")
    assert "canary" not in repr(read_settings(None))


def refused(monkeypatch: pytest.MonkeyPatch, **variables: str) -> list[str]:
    for name, value in variables.items():
        monkeypatch.setenv(f"PARLEY_{name}", value)
    with pytest.raises(SettingsRefused) as found:
        read_settings(None)
    return found.value.message.splitlines()


@pytest.mark.parametrize("value", ["https://app.example", "{}", "5", '["https://app.example"'])
def test_a_list_that_is_none_is_named_beside_all_else_that_is_wrong(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    told = refused(monkeypatch, CORS_ORIGINS=value, LLM_UPSTREAMS="canary", PORT="x")
    assert sorted(line.split(":")[0] for line in told) == ["PARLEY_CORS_ORIGINS", "PARLEY_LLM_UPSTREAMS", "PARLEY_PORT"]
    assert "must be a JSON list" in told[1]
    assert "canary" not in "".join(told)


def test_origins_are_written_as_browsers_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "PARLEY_CORS_ORIGINS", '["HTTPS://App.Example:443/", "http://localhost:3000", "tauri://localhost"]'
    )
    monkeypatch.setenv("PARLEY_EMBED_ORIGINS", '["*"]')
    settings = read_settings(None)
    assert settings.cors_origins == ("https://app.example", "http://localhost:3000", "tauri://localhost")
    assert settings.embed_origins == ("*",)


@pytest.mark.parametrize("origin", ["app.example", "https://app.example/page", "https://*.example", "https://", ""])
def test_what_no_page_can_come_from_is_refused(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    told = refused(monkeypatch, EMBED_ORIGINS=f'["https://fine.example", "{origin}"]')
    assert told == [f"PARLEY_EMBED_ORIGINS: {origin} is no origin: write one like https://app.example"]


@pytest.mark.parametrize("kind", ["LLM", "EMBEDDING", "RERANK"])
def test_a_model_that_is_served_nowhere_is_told_of(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    told = refused(monkeypatch, **{f"{kind}_MODEL": "some"})
    assert told == [f"PARLEY_{kind}_BASE_URL is needed beside PARLEY_{kind}_MODEL: where it is served"]


@pytest.mark.parametrize("url", ["blobs", "s3://", "ftp://host/folder", "file://relative"])
def test_files_are_kept_where_that_can_be(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    told = refused(monkeypatch, BLOB_URL=url)
    assert told == ["PARLEY_BLOB_URL: must be like file:///folder, s3://bucket, gs://bucket or az://container"]


def test_numbers_no_column_holds_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    told = refused(monkeypatch, SESSION_RETENTION_DAYS="9" * 9, RATE_LIMIT="9" * 20)
    assert [line.split(":")[0] for line in told] == ["PARLEY_RATE_LIMIT", "PARLEY_SESSION_RETENTION_DAYS"]


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_bytes(b"PARLEY_PORT=1\n\xff\n")
    with pytest.raises(SettingsRefused) as found:
        read_settings(file)
    assert found.value.message.startswith(f"{file}: cannot be read: ")


@pytest.mark.promise("conversations:1.1-setting", "conversations:1.1-setting-27")
def test_the_dialect_is_ours_unless_it_is_said_and_one_that_is_spoken(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(None).compat == "off"
    for level in ("0.27", "on"):
        [told] = refused(monkeypatch, COMPAT=level)
        assert told.startswith("PARLEY_COMPAT")


@pytest.mark.promise("conversations:1.1-setting", "conversations:2.2-system-setting")
async def test_dialect_and_default_system_text_reach_the_routes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, fresh_database: DatabaseUrls
) -> None:
    text = "Ours: {knowledge}"
    for name, value in {"COMPAT": "0.22", "DEFAULT_SYSTEM_PROMPT": text, "DATA_DIR": str(tmp_path)}.items():
        monkeypatch.setenv(f"PARLEY_{name}", value)
    async with built(read_settings(None), fresh_database.app, PEPPER) as parts:
        state = build_app(parts).state
        assert state.default_system_prompt == text
        assert state.edge.is_compat22
