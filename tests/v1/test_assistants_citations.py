"""What an assistant's answer rests on, under `/v1` (openai.md 9)."""

from dataclasses import replace
from typing import Any

import httpx
import openai
import pytest

from app.wire.openai_sources import own_link
from tests.conftest import Tenant
from tests.service import Service
from tests.sessions.world import reference as reference_to
from tests.v1.assistants import (
    FACTS,
    QUESTION,
    WEATHER,
    asked_of,
    asks,
    chunks_of,
    content_of,
    knowing,
    official,
    says,
)

ANSWER = "Marlene lifts forty tons [ID:0], Ottilie ninety [ID: 1] [ID:99].\n```\nx = a[1] [ID:0]\n```\nThat is all."
SHOWN = "Marlene lifts forty tons [1], Ottilie ninety [2].\n```\nx = a[1] [ID:0]\n```\nThat is all."


@pytest.mark.promise("openai:C-01", "openai:C-02", "openai:C-05", "openai:9-reference-object", "openai:9-permalink")
async def test_whole_answer_stream_and_helper_tell_the_same_sources(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    call: dict[str, Any] = {"model": known.chat.id, "messages": says(ANSWER)}
    async with official(service, tenant) as client:
        raw = await client.chat.completions.with_raw_response.create(**call)
        chunks = await chunks_of(client, **call)
        async with client.chat.completions.stream(**call) as stream:
            async for _ in stream:
                pass
            helped = await stream.get_final_completion()
    message = raw.http_response.json()["choices"][0]["message"]
    deltas = [one["choices"][0]["delta"] for one in chunks]

    assert message["content"] == content_of(chunks) == SHOWN
    for name in ("annotations", "reference"):
        assert [at for at, delta in enumerate(deltas) if name in delta] == [len(deltas) - 1]
        assert deltas[-1][name] == message[name]
    assert "final_content" not in deltas[-1]
    final: Any = helped.choices[0].message.to_dict()
    assert final["content"] == SHOWN
    assert final["annotations"] == message["annotations"]
    assert final["reference"] == message["reference"]

    spans = [one["url_citation"] for one in message["annotations"]]
    assert [SHOWN[one["start_index"] : one["end_index"]] for one in spans] == ["[1]", "[2]"]
    assert {one["type"] for one in message["annotations"]} == {"url_citation"}
    reference = message["reference"]
    assert set(reference) == {"total", "chunks", "doc_aggs"}
    assert reference["total"] == 2
    assert {one["content"] for one in reference["chunks"]} == set(FACTS)
    assert set(reference["chunks"][0]) == {
        "id", "content", "document_id", "document_name", "dataset_id", "url", "similarity", "vector_similarity",
        "term_similarity", "positions", "image_id",
    }  # fmt: skip
    assert {one["id"] for one in reference["chunks"]} == set(known.chunk_ids)
    for one in reference["chunks"]:
        place = (one["document_id"], one["document_name"], one["dataset_id"])
        assert place == (known.document_id, "cranes.txt", known.dataset_id)
        assert (one["positions"], one["image_id"], one["vector_similarity"]) == ([], "", pytest.approx(0, abs=1))
        assert 0.05 < one["similarity"] <= 1
        assert one["term_similarity"] == pytest.approx(one["similarity"])  # all its weight is on the words
    [counted] = reference["doc_aggs"]
    assert (counted["doc_id"], counted["doc_name"], counted["count"]) == (known.document_id, "cranes.txt", 2)
    for chunk, span in zip(reference["chunks"], spans, strict=True):
        assert (span["url"], span["title"]) == (chunk["url"], "cranes.txt")
        async with httpx.AsyncClient() as plain:
            found = await plain.get(span["url"], headers=tenant.auth)
            assert (await plain.get(span["url"])).status_code == 401
        assert found.json()["data"]["content"] == chunk["content"]


@pytest.mark.promise("openai:C-06", "openai:9-final-content")
async def test_reference_is_left_out_or_comes_with_the_whole_answer(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    call: dict[str, Any] = {"model": known.chat.id, "messages": says("Forty tons [ID:0].")}
    async with official(service, tenant) as client:
        without = await chunks_of(client, **call, extra_body={"reference": False})
        whole = await client.chat.completions.create(**call, extra_body={"reference": False})
        asked = await chunks_of(client, **call, extra_body={"reference": True})

    assert "reference" not in without[-1]["choices"][0]["delta"]
    assert len(without[-1]["choices"][0]["delta"]["annotations"]) == 1
    assert "reference" not in whole.choices[0].message.to_dict()
    assert len(whole.choices[0].message.annotations or ()) == 1
    last = asked[-1]["choices"][0]["delta"]
    assert (last["final_content"], len(last["reference"]["chunks"])) == ("Forty tons [1].", 2)
    assert last["annotations"] == without[-1]["choices"][0]["delta"]["annotations"]  # of the one that is cited


@pytest.mark.promise("openai:9-late-markers")
async def test_sources_a_model_did_not_name_stand_at_the_end(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    call: dict[str, Any] = {"model": known.chat.id, "messages": says(f"I know that: {FACTS[0]}")}
    async with official(service, tenant) as client:
        whole = await client.chat.completions.create(**call, extra_body={"reference": True})
        chunks = await chunks_of(client, **call)
    message: Any = whole.choices[0].message.to_dict()
    [cited] = message["annotations"]
    span = cited["url_citation"]
    marker = message["content"][span["start_index"] : span["end_index"]]
    named = message["reference"]["chunks"][int(marker.strip("[]")) - 1]

    assert content_of(chunks) == message["content"]
    assert message["content"].endswith(marker)
    assert named["content"] == FACTS[0]


@pytest.mark.promise("openai:9-late-places")
async def test_calls_and_refusals_get_no_late_markers(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    calls = [{"name": "weather", "arguments": "{}"}]
    async with official(service, tenant) as client:
        refused = await client.chat.completions.create(model=known.chat.id, messages=asks(refusal=FACTS[0]))
        called = await client.chat.completions.create(
            model=known.chat.id, messages=asks(text=FACTS[0], calls=calls, finish="tool_calls"), tools=[WEATHER]
        )
    assert (refused.choices[0].message.content, refused.choices[0].message.refusal) == (None, FACTS[0])
    assert (called.choices[0].message.content, called.choices[0].finish_reason) == (FACTS[0], "tool_calls")
    for done in (refused, called):
        assert done.choices[0].message.annotations == []


@pytest.mark.promise("openai:9-own-link")
async def test_a_document_with_a_link_of_its_own_is_cited_by_it(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    call: dict[str, Any] = {"model": known.chat.id, "messages": says(ANSWER)}
    place = f"/api/v1/datasets/{known.dataset_id}/documents/{known.document_id}"
    async with official(service, tenant) as client, service.client(tenant) as native:
        for metadata, expected in (
            ({"URL": "https://cranes.example/list", "author": "x"}, "https://cranes.example/list"),
            ({"source": "the harbour master", "link": ["http://cranes.example/2"]}, "http://cranes.example/2"),
            ({"url": "javascript:alert(1)"}, None),
        ):
            changed = await native.put(place, json={"meta_fields": metadata})
            assert changed.json()["code"] == 0, changed.text
            done = await client.chat.completions.create(**call)
            chunks = await chunks_of(client, **call)
            message: Any = done.choices[0].message.to_dict()
            assert chunks[-1]["choices"][0]["delta"]["annotations"] == message["annotations"]
            urls = {one["url_citation"]["url"] for one in message["annotations"]}
            urls |= {one["url"] for one in message["reference"]["chunks"]}
            if expected is not None:
                assert urls == {expected}
            else:
                assert all(one.startswith(f"{service.base_url}{place}/chunks/") for one in urls)


@pytest.mark.promise("openai:9-own-link")
def test_which_link_is_a_documents_own() -> None:
    page, other = "https://page.example", "http://other.example/x"
    long = "https://page.example/" + "x" * 2000
    for metadata, expected in (
        ({"url": page, "link": other}, page),
        ({"link": page, "source_url": other}, page),
        ({"source_url": page, "source": other}, page),
        ({"source": page}, page),
        ({"Source_URL": [page, other]}, page),
        ({"url": "cranes.example", "source": other}, other),
        ({"url": long, "source": other}, other),
        ({"url": [], "link": 3, "source": None}, None),
        ({"href": page}, None),
    ):
        assert own_link(replace(reference_to(0, "d"), metadata=metadata)) == expected, metadata
    assert own_link(reference_to(0, "d", url=page)) == page


@pytest.mark.promise("openai:C-08")
async def test_what_was_deleted_since_is_not_rested_on_again(service: Service, tenant: Tenant) -> None:
    """A continuation goes on from what was found; a document deleted meanwhile is in neither prompt nor reference."""
    known = await knowing(service, tenant)
    call: dict[str, Any] = {
        "model": known.chat.id,
        "messages": asks(calls=[{"name": "weather", "arguments": "{}"}], then="So be it.", finish="tool_calls"),
        "tools": [WEATHER],
    }
    async with official(service, tenant) as client, service.client(tenant) as native:
        first = await client.chat.completions.create(**call)
        asked = first.choices[0].message.model_dump(include={"role", "content", "tool_calls"})
        result = {"role": "tool", "tool_call_id": asked["tool_calls"][0]["id"], "content": "sunny"}
        going_on = {**call, "messages": [*call["messages"], asked, result]}
        second = await client.chat.completions.create(**going_on)
        place = f"/api/v1/datasets/{known.dataset_id}/documents"
        await native.request("DELETE", place, json={"ids": [known.document_id]})
        third = await client.chat.completions.create(**going_on)
    found = [(one.choices[0].message.model_extra or {})["reference"]["chunks"] for one in (first, second, third)]
    assert [len(one) for one in found] == [2, 2, 0]
    prompts = [str(one["messages"]) for one in asked_of(service)]
    assert [FACTS[0] in one for one in prompts] == [True, True, False]
    assert third.choices[0].message.content == "So be it."


@pytest.mark.promise(
    "openai:C-08", "openai:C-08-reread", "openai:C-08-places", "openai:1.2-assistant-once", "openai:11-one-engine"
)
async def test_what_was_deleted_since_is_absent_when_read_again(service: Service, tenant: Tenant) -> None:
    """In sessions of both dialects, a followed turn, and the same call made again: text and markers are as before."""
    known = await knowing(service, tenant)
    async with service.client(tenant) as client:
        made = await client.post(f"/api/v1/chats/{known.chat.id}/sessions", json={"name": "s"})
        session = made.json()["data"]["id"]
        call: dict[str, Any] = {"model": known.chat.id, "messages": says(ANSWER), "session_id": session}
        key = {"Idempotency-Key": "again"}
        first = (await client.post("/v1/chat/completions", json=call, headers=key)).json()
        turn = first["parley"]["message_id"]
        sessions = f"/api/v1/chats/{known.chat.id}/sessions"
        reads = [(f"{sessions}/{session}", {}), (sessions, {}), (sessions, {"X-RAGFlow-Compat": "0.22"})]
        reads += [(f"/api/v1/turns/{turn}/events", {})]
        before = [(await client.get(path, headers=headers)).text for path, headers in reads]
        place = f"/api/v1/datasets/{known.dataset_id}/documents"
        assert (await client.request("DELETE", place, json={"ids": [known.document_id]})).json()["code"] == 0

        again = (await client.post("/v1/chat/completions", json=call, headers=key)).json()
        after = [(await client.get(path, headers=headers)).text for path, headers in reads]

    for told in before:
        assert known.document_id in told
        assert FACTS[0] in told
    for told in after:
        assert known.document_id not in told
        assert FACTS[0] not in told
        assert "Marlene lifts forty tons [ID:0]" in told
    assert again["parley"] == first["parley"]
    message, was = again["choices"][0]["message"], first["choices"][0]["message"]
    assert (message["content"], was["content"]) == (SHOWN, SHOWN)
    assert (len(was["reference"]["chunks"]), len(was["annotations"])) == (2, 2)
    assert message["reference"] == {"total": 2, "chunks": [], "doc_aggs": []}
    assert message["annotations"] == []
    assert len(asked_of(service)) == 1


@pytest.mark.promise("openai:CC-22-knowledge")
async def test_what_was_found_gives_way_to_what_was_said(service: Service, tenant: Tenant) -> None:
    """A small context: the last passages are left out; only messages that are too long by themselves are refused."""
    facts = [f"The harbour crane number {at} lifts tons. " + "word " * 60 for at in range(8)]
    known = await knowing(service, tenant, facts)
    model = service.parts.catalogue.chat(None)
    model._upstreams[0].context_tokens = 600  # type: ignore[attr-defined]
    async with official(service, tenant) as client, service.client(tenant) as native:
        for words in (0, 100, 200):
            said = says("Yes.", QUESTION + " crane" * words)
            done = await client.chat.completions.create(model=known.chat.id, messages=said)
            reference: Any = (done.choices[0].message.model_extra or {})["reference"]
            sent = str(asked_of(service)[-1]["messages"])
            assert 1 <= len(reference["chunks"]) < 8 - words // 50
            assert all(one["content"].strip() in sent for one in reference["chunks"])
            assert sent.count("harbour crane number") == len(reference["chunks"])
        with pytest.raises(openai.BadRequestError) as refused:
            await client.chat.completions.create(model=known.chat.id, messages=says("Yes.", QUESTION + " crane" * 600))
        assert refused.value.code == "context_length_exceeded"
        made = await native.post(f"/api/v1/chats/{known.chat.id}/sessions", json={"name": "s"})
        bound = {"session_id": made.json()["data"]["id"]}
        for _ in range(3):  # a session's oldest turns go before what was found
            done = await client.chat.completions.create(
                model=known.chat.id, messages=says("Yes. " * 60, QUESTION + " crane" * 60), extra_body=bound
            )
            reference = (done.choices[0].message.model_extra or {})["reference"]
            assert len(reference["chunks"]) >= 2


@pytest.mark.promise("openai:9-configured")
async def test_without_quoting_there_are_neither_markers_nor_references(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant, quote=False)
    async with official(service, tenant) as client:
        whole = await client.chat.completions.create(model=known.chat.id, messages=says("Forty tons."))
    message: Any = whole.choices[0].message.to_dict()

    assert message["annotations"] == []
    assert message["reference"] == {"total": 0, "chunks": [], "doc_aggs": []}
    assert message["content"] == "Forty tons."


@pytest.mark.promise("openai:C-07", "openai:CC-16", "openai:3.8-plain")
async def test_structured_answers_carry_no_markers(service: Service, tenant: Tenant) -> None:
    known = await knowing(service, tenant)
    schema = {"type": "object", "properties": {"tons": {"type": "integer"}, "a": {"type": "string"}}}
    form: Any = {"type": "json_schema", "json_schema": {"name": "load", "strict": True, "schema": schema}}
    text = '{"tons": 40, "a": "[ID:0]"}'
    async with official(service, tenant) as client:
        whole = await client.chat.completions.create(model=known.chat.id, messages=says(text), response_format=form)
        fact = await client.chat.completions.create(
            model=known.chat.id,
            messages=says(f'{{"a": "{FACTS[0]} [ID:0]"}}'),
            response_format={"type": "json_object"},
        )
        chunks = await chunks_of(client, model=known.chat.id, messages=says(text), response_format=form)
        loose = await client.chat.completions.create(
            model=known.chat.id,
            messages=says('{"none": true}'),
            response_format={"type": "json_object"},
            extra_body={"dataset_ids": []},
        )
    sent = asked_of(service)[0]
    message: Any = whole.choices[0].message.to_dict()

    assert message["content"] == content_of(chunks) == text
    assert message["annotations"] == []
    assert len(message["reference"]["chunks"]) == 2
    assert chunks[-1]["choices"][0]["delta"] == {"annotations": [], "reference": message["reference"]}
    assert fact.choices[0].message.content == f'{{"a": "{FACTS[0]} [ID:0]"}}'  # as it came, nothing behind it
    assert (fact.choices[0].message.annotations, len(fact.choices[0].message.reference["chunks"])) == ([], 2)
    assert sent["response_format"] == form
    assert list(sent["response_format"]["json_schema"]["schema"]["properties"]) == ["tons", "a"]
    assert "How to cite" not in sent["messages"][0]["content"]
    assert loose.choices[0].message.content == '{"none": true}'  # not the assistant's words for nothing found
