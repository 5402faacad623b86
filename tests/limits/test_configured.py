"""The settings that conversations.md 11.1 names: what they are by default, and that each reaches the part it is for."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app.building import parts
from app.domain.limits import LimitsConfig, RateConfig
from app.engine.turns import EngineConfig
from app.retrieval.web import TavilySearch
from app.services.completions import CompletionsConfig
from app.settings import Settings, read_settings


@pytest.mark.promise("conversations:11-defaults", "conversations:11.1-defaults")
def test_the_defaults_are_those_of_the_contract() -> None:
    default = {name: field.default for name, field in Settings.model_fields.items()}
    assert (default["rate_limit"], default["rate_burst"], default["rate_window"]) == (100, 50, 60)
    assert (default["max_streams"], default["session_retention_days"]) == (10, 30)
    assert (default["max_session_messages"], default["on_full"]) == (100, "trim")
    assert (default["compat"], default["expose_prompt"], default["default_system_prompt"]) == ("off", False, None)
    assert (default["sse_ping"], default["turn_lock_timeout"], default["on_disconnect"]) == (15, 30, "finish")


@pytest.mark.promise("conversations:11.1-settings", "conversations:10.7-web")
async def test_what_is_set_is_what_the_service_keeps_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def joined(**given: Any) -> Any:
        return SimpleNamespace(**given)

    monkeypatch.setattr(parts, "assemble", joined)
    for name in [name for name in os.environ if name.startswith("PARLEY_")]:
        monkeypatch.delenv(name)
    for name, value in {
        "DATA_DIR": str(tmp_path), "COMPAT": "0.22", "EXPOSE_PROMPT": "true", "SSE_PING": "4",
        "RATE_LIMIT": "7", "RATE_BURST": "3", "RATE_WINDOW": "9", "MAX_STREAMS": "2", "SESSION_RETENTION_DAYS": "5",
        "MAX_SESSION_MESSAGES": "11", "ON_FULL": "reject", "TURN_LOCK_TIMEOUT": "6", "TURN_TIMEOUT": "8",
        "ON_DISCONNECT": "stop", "DEFAULT_SYSTEM_PROMPT": "Speak.", "TAVILY_URL": "http://web.example/",
    }.items():  # fmt: skip
        monkeypatch.setenv(f"PARLEY_{name}", value)
    nowhere = "postgresql+asyncpg://nobody@127.0.0.1:1/none"
    async with parts.built(read_settings(None), nowhere, b"pepper") as made:
        given: Any = made
    assert (given.edge.is_compat22, given.edge.expose_prompt, given.edge.ping_s) == (True, True, 4)
    rate = RateConfig(limit=7, burst=3, window_s=9)
    assert given.edge.limits == LimitsConfig(rate=rate, max_streams=2)
    assert given.retention_days == 5
    assert given.engine_config == EngineConfig(
        turn_timeout_s=8, lock_timeout_s=6, max_session_messages=11, on_full="reject"
    )
    assert given.completions_config == CompletionsConfig(on_disconnect="stop")
    assert given.default_system_prompt == "Speak."
    assert isinstance(given.web, TavilySearch)
    assert given.web._url == "http://web.example/search"
