"""Settings that a later version gives an effect say so when they are given (operations.md 3)."""

from pathlib import Path

import pytest

from app.settings import read_settings


def test_a_setting_without_effect_is_named_when_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(None).unused == []
    monkeypatch.setenv("PARLEY_RATE_LIMIT", "5")
    assert read_settings(None).unused == ["PARLEY_RATE_LIMIT"]


def test_the_page_of_settings_says_which_have_no_effect_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings.md").read_text()
    for name, value in {"RATE_LIMIT": "5", "MAX_STREAMS": "1", "SESSION_RETENTION_DAYS": "1"}.items():
        monkeypatch.setenv(f"PARLEY_{name}", value)
    for name in read_settings(None).unused:
        row = next(line for line in page.splitlines() if f"`{name}`" in line)
        assert "no effect yet" in row or "not " in row, row
