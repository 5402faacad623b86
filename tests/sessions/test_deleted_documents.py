"""Old answers rest on nothing of documents deleted since (openai.md 9, C-08); what was said stays as it was."""

from typing import Any

import orjson
import pytest
from sqlalchemy import text

from app.domain.references import GONE, Live, count_documents, shown, without_deleted
from tests.chats.world import Api, World
from tests.sessions.test_turns import opened
from tests.sessions.world import add_turn, reference

ANSWER = "It is so [ID:0], and so [ID:1], and so [ID:2]."
FOUND = (reference(0, "kept"), reference(1, "lost"), reference(2, "kept"), reference(3, "lost"))


async def delete(world: World, api: Api, document: str) -> None:
    await world.sql(api, text("DELETE FROM documents WHERE id = :id").bindparams(id=document))


@pytest.mark.promise("openai:C-08-reread", "openai:C-08-places")
async def test_every_way_to_read_a_session_leaves_them_out(api: Api, world: World) -> None:
    """A chunk with others after it keeps its place, empty: the marker `[ID:2]` still names what it named."""
    chat, session, path = await opened(api)
    turn = await add_turn(world, api, chat, session, answer=ANSWER, references=FOUND, cited=(0, 1, 2))
    before = (await api.ok("GET", path))["messages"][-1]
    assert [one["id"] for one in before["reference"]["chunks"]] == ["chunk0", "chunk1", "chunk2", "chunk3"]
    assert [(one["doc_id"], one["count"]) for one in before["reference"]["doc_aggs"]] == [("kept", 2), ("lost", 1)]

    await delete(world, api, "lost")

    whole = await api.ok("GET", path)
    fork = await api.ok("POST", f"{path}/fork", json={"message_id": turn})
    export = orjson.loads((await api.raw("GET", f"{path}/export")).content)
    stretch = await api.ok("GET", f"{path}/messages")
    listed = next(one for one in await api.ok("GET", f"/chats/{chat}/sessions") if one["id"] == session)
    for shown_as in (whole, fork, export, stretch, listed):
        last = shown_as["messages"][-1]
        assert last["content"] == ANSWER
        chunks = last["reference"] if shown_as is listed else last["reference"]["chunks"]
        assert [one["id"] for one in chunks] == ["chunk0", "", "chunk2"]
        assert chunks[0] == (before["reference"]["chunks"][0] if shown_as is not listed else chunks[0])
        empty: dict[str, Any] = dict.fromkeys(before["reference"]["chunks"][0], "") | {"positions": []}
        empty |= dict.fromkeys(("url", "similarity", "vector_similarity", "term_similarity"))
        assert chunks[1] == {name: empty[name] for name in chunks[1]}
        if shown_as is not listed:
            assert [(one["doc_id"], one["count"]) for one in last["reference"]["doc_aggs"]] == [("kept", 2)]
        assert b"lost" not in orjson.dumps(shown_as)
        assert b"text 1" not in orjson.dumps(shown_as)
    assert whole["reference"][-1] == whole["messages"][-1]["reference"]


@pytest.mark.promise("openai:C-08-reread")
async def test_where_all_were_deleted_nothing_is_left(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    await add_turn(world, api, chat, session, answer=ANSWER, references=FOUND, cited=(1,))
    for document in ("kept", "lost"):
        await delete(world, api, document)
    last = (await api.ok("GET", path))["messages"][-1]
    assert (last["content"], last["reference"]) == (ANSWER, {"chunks": [], "doc_aggs": []})


@pytest.mark.promise("openai:C-08-reread")
async def test_a_dataset_being_deleted_and_another_tenants_are_gone_too(api: Api, world: World, rival: Api) -> None:
    chat, session, path = await opened(api)
    await add_turn(world, api, chat, session, answer=ANSWER, references=FOUND[:1])
    await world.sql(api, text("UPDATE datasets SET deleted_at = now() WHERE id = 'set'"))
    assert (await api.ok("GET", path))["messages"][-1]["reference"]["chunks"] == []

    chat, session, path = await opened(rival)  # documents of the same ids
    await add_turn(world, rival, chat, session, answer=ANSWER, references=FOUND[:1])
    await world.sql(api, text("UPDATE datasets SET deleted_at = NULL WHERE id = 'set'"))
    await delete(world, rival, "kept")
    assert (await rival.ok("GET", path))["messages"][-1]["reference"]["chunks"] == []


@pytest.mark.promise("openai:C-08-reread")
async def test_what_comes_from_no_document_stays(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    page = reference(0, "page", url="http://page")
    await add_turn(world, api, chat, session, references=(page,))
    await world.sql(api, text("UPDATE message_references SET document_id = '', dataset_id = ''"))
    (chunk,) = (await api.ok("GET", path))["messages"][-1]["reference"]["chunks"]
    assert (chunk["url"], chunk["content"]) == ("http://page", "text 0")


@pytest.mark.promise("openai:C-08-one-statement")
async def test_a_page_asks_once_however_much_it_shows(api: Api, world: World) -> None:
    chat, session, path = await opened(api)
    others = [(await api.session(chat))["id"] for _ in range(3)]
    for one in (session, *others):
        for _ in range(4):
            await add_turn(world, api, chat, one, answer=ANSWER, references=FOUND, cited=(0,))
    await api.ok("GET", path)  # the use of the key is noted once a minute
    counts: list[int] = []
    for _ in range(2):
        for shown_at in (f"/chats/{chat}/sessions", path, f"{path}/messages"):
            with world.recorded() as statements:
                await api.ok("GET", shown_at)
            assert len([one for one in statements if "message_references" in one]) == 1
            assert len([one for one in statements if "FROM documents" in one]) == 1
            counts.append(len(statements))
        await delete(world, api, "lost")
    assert counts[:3] == counts[3:]


@pytest.mark.promise("openai:C-08-places")
def test_a_place_is_kept_for_those_after_it_alone() -> None:
    live = Live(documents={FOUND[0].document_id}, datasets={FOUND[0].dataset_id})
    left = without_deleted(FOUND, live)
    assert left == (FOUND[0], GONE, FOUND[2], GONE)
    assert list(shown(left)) == [FOUND[0], GONE, FOUND[2]]
    assert list(shown(without_deleted(FOUND, Live(documents={one.document_id for one in FOUND}, datasets=())))) == []
    assert list(shown(FOUND)) == list(FOUND)
    assert [(one.document_id, one.count) for one in count_documents(left)] == [("kept", 2)]
    assert [(one.document_id, one.count) for one in count_documents(left, (1, 3))] == []  # only those were cited
