"""Settings are read from the environment and a file; what cannot be used is refused by name, without its secrets."""

from pathlib import Path

import pytest

from app.settings import SettingsRefused, read_settings


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
