"""Sessions found by odd words: of one or two characters, with wildcards in them, of any script (8.1)."""

import pytest

from repositories import session_hours, session_search
from tests.chats.world import Api, World
from tests.sessions.world import add_turn

SAID = (
    "合同在哪里?",
    "Ёлка и ель",
    "ΣΊΣΥΦΟΣ",
    "100% sure_thing",
    "a\\b",
    "naïve café",
    "👩‍🚀 up",
    "zz",
)
WORDS = {
    "合同": {0},
    "同": {0},
    "ёл": {1},
    "ЁЛКА": {1},
    "σίσυφοσ": {2},
    "%": {3},
    "_": {3},
    "0%": {3},
    "e_t": {3},
    "\\": {4},
    "A\\B": {4},
    "%b": set[int](),
    "a_b": set[int](),
    "ÏV": {5},
    "CAFÉ": {5},
    "👩‍🚀": {6},
    "ZZ": {7},
    "'": set[int](),
}


@pytest.mark.promise("conversations:8.1-keywords")
@pytest.mark.parametrize(("walked", "candidates"), [(100, 100), (1, 100), (1, 0)])
async def test_8_1_no_word_is_too_short_or_too_odd(
    api: Api, world: World, monkeypatch: pytest.MonkeyPatch, walked: int, candidates: int
) -> None:
    monkeypatch.setattr(session_search, "WALKED", walked)
    monkeypatch.setattr(session_hours, "CANDIDATES", candidates)
    chat = (await api.chat(prompt={"opener": "?"}))["id"]
    ids = [(await api.session(chat, name="-"))["id"] for _ in SAID]
    for session_id, text in zip(ids, SAID, strict=True):
        await add_turn(world, api, chat, session_id, question=text, answer="-")
    found: dict[str, set[int]] = {}
    for word in WORDS:
        listed = await api.ok("GET", f"/chats/{chat}/sessions", params={"keywords": word})
        found[word] = {ids.index(one["id"]) for one in listed}
    assert found == WORDS
