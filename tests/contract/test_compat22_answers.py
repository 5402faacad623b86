"""Answers as clients of RAGFlow 0.22 meet them: the C22 columns of conversations.md 4, 5.1 and 7.4."""

import itertools
from typing import Any

import pytest

from app.domain.principals import KeyKind
from tests.contract.compat22 import V1, Old, old
from tests.service import Events, scripted, stream
from tests.v1.assistants import FACTS, QUESTION, knowing

__all__ = ["old"]  # a fixture, found by name

END = {"code": 0, "data": True}
DELTA = {"answer", "reference", "audio_binary", "id", "session_id"}
LAST = {"answer", "reference", "prompt", "id", "session_id", "created_at"}
LISTED = {"id", "content", "document_id", "document_name", "dataset_id", "image_id", "positions"}
CHUNK = LISTED | {"url", "similarity", "vector_similarity", "term_similarity", "doc_type"}


async def asked(old: Old, question: str, **more: Any) -> Events:
    """The stream of a question in a new session of a new assistant."""
    path = f"/chats/{(await old.chat())['id']}"
    session = await old.data("POST", f"{path}/sessions", json={})
    return await old.stream(f"{path}/completions", {"question": question, "session_id": session["id"], **more})


@pytest.mark.promise("conversations:4.5-cumulative-22", "conversations:12-4-space")
async def test_4_5_each_event_holds_the_whole_text_so_far(old: Old) -> None:
    events = await asked(old, scripted(text="One two three.", gap_ms=5))

    assert events.headers["content-type"].startswith("text/event-stream")
    *deltas, last, end = events.data
    assert end == END
    assert b"[DONE]" not in events.raw
    lines = [line for line in events.raw.split(b"\n") if line and not line.startswith(b":")]
    assert all(line.startswith(b"data: {") for line in lines)
    answers = [one["data"]["answer"] for one in deltas]
    assert len(answers) > 1
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(answers))
    assert last["data"]["answer"] == "One two three."
    for one in deltas:
        assert set(one) == {"code", "data"}
        assert set(one["data"]) == DELTA
        assert one["data"]["reference"] == {"chunks": []}
    assert set(last) == {"code", "data"}
    assert set(last["data"]) == LAST


@pytest.mark.promise("conversations:4.5-cumulative-22")
async def test_4_5_thinking_is_in_the_text(old: Old) -> None:
    events = await asked(old, scripted(text="Yes.", think="Hm, well."))

    assert events.data[-2]["data"]["answer"] == "<think>Hm, well.</think>Yes."
    assert events.data[0]["data"]["answer"].startswith("<think>")


@pytest.mark.promise("conversations:4.5-cumulative-22", "conversations:3.4-chunks-22", "conversations:2.1-do-refer")
async def test_4_5_the_last_event_is_cited_and_names_chunks_as_upstream_does(old: Old) -> None:
    known = await knowing(old.service, old.tenant)
    path = f"/chats/{known.chat.id}"
    await old.data("PATCH", path, json={"do_refer": "0"})  # which nobody reads
    session = (await old.data("POST", f"{path}/sessions", json={}))["id"]
    question = scripted(QUESTION, text=FACTS[0], gap_ms=5)

    events = await old.stream(f"{path}/completions", {"question": question, "session_id": session})

    *deltas, last, end = events.data
    assert end == END
    assert deltas[-1]["data"]["answer"] == FACTS[0]
    assert "[ID:" in last["data"]["answer"]
    reference = last["data"]["reference"]
    assert set(reference) == {"total", "chunks", "doc_aggs"}
    assert FACTS[0] in {one["content"] for one in reference["chunks"]}
    assert {frozenset(one) for one in reference["chunks"]} == {frozenset(CHUNK)}
    asked = {"question": question, "session_id": session, "stream": False}
    whole = await old.data("POST", f"{path}/completions", json=asked)
    assert {frozenset(one) for one in whole["reference"]["chunks"]} == {frozenset(CHUNK)}
    [listed] = await old.data("GET", f"{path}/sessions")
    found = listed["messages"][2]["reference"]
    assert {frozenset(one) for one in found} == {frozenset(LISTED)}


@pytest.mark.promise("conversations:4.5-stream-mode-22")
async def test_4_5_whoever_asks_for_pieces_by_name_gets_them(old: Old) -> None:
    events = await asked(old, scripted(text="One two three."), stream_mode="incremental")

    assert events.text == "One two three."
    assert events.data[-1] == "[DONE]"


@pytest.mark.promise("conversations:4.3-opener-22")
async def test_4_3_a_stream_without_a_session_opens_one_and_answers_nothing(old: Old) -> None:
    path = f"/chats/{(await old.chat(prompt={'opener': 'Hello!'}))['id']}"

    for question in ("How?", "", None):
        events = await old.stream(f"{path}/completions", {"question": question})
        opener, end = events.data
        assert end == END
        assert set(opener) == {"code", "message", "data"}
        assert opener["data"]["answer"] == "Hello!"
        assert opener["data"]["reference"] == {}
        [session] = await old.data("GET", f"{path}/sessions", params={"id": opener["data"]["session_id"]})
        assert [one["role"] for one in session["messages"]] == ["assistant"]
    assert old.service.upstream.calls() == []


@pytest.mark.promise("conversations:4.3-whole-22")
async def test_4_3_a_whole_answer_without_a_session_is_of_the_question(old: Old) -> None:
    path = f"/chats/{(await old.chat(prompt={'opener': 'Hello!'}))['id']}/completions"

    answer = await old.data("POST", path, json={"question": scripted(text="Yes."), "stream": False})
    assert answer["answer"] == "Yes."
    assert answer["session_id"]
    opened = await old.data("POST", path, json={"stream": False})
    assert opened["answer"] == "Hello!"


@pytest.mark.promise("conversations:4.2-refusals-22")
async def test_4_2_refusals_before_the_stream_opens(old: Old) -> None:
    path = f"/chats/{(await old.chat())['id']}"
    session = (await old.data("POST", f"{path}/sessions", json={}))["id"]

    gone = await old.refusal("POST", "/chats/nobody's/completions", json={"question": "How?"})
    assert gone == (102, "You don't own the chat nobody's")
    gone = await old.refusal("POST", f"{path}/completions", json={"question": "How?", "session_id": "x"})
    assert gone == (102, "You don't own the session x")
    assert (await old.refusal("POST", f"{path}/completions", json={"session_id": session}))[0] == 100


@pytest.mark.promise("conversations:4.2-missing-variable-22")
async def test_4_2_a_missing_variable_is_told_in_the_stream_or_as_an_exception(old: Old) -> None:
    prompt = {"prompt": "In {tone} {knowledge}", "variables": [{"key": "tone", "optional": False}]}
    path = f"/chats/{(await old.chat(prompt=prompt))['id']}"
    session = (await old.data("POST", f"{path}/sessions", json={}))["id"]
    sent = {"question": "How?", "session_id": session}

    failed, end = (await old.stream(f"{path}/completions", sent)).data
    text = "'Miss parameter: tone'"
    reference: list[Any] = []
    assert failed == {"code": 500, "message": text, "data": {"answer": f"**ERROR**: {text}", "reference": reference}}
    assert end == END
    whole = await old.refusal("POST", f"{path}/completions", json={**sent, "stream": False})
    assert whole == (100, f"KeyError({text})")


@pytest.mark.promise("conversations:4.4-failure-22")
@pytest.mark.parametrize("directive", [{"status": 400}, {"pieces": 4, "error_after": 2}])
async def test_4_4_a_model_that_fails_says_so_in_the_stream(old: Old, directive: dict[str, Any]) -> None:
    events = await asked(old, scripted(message="out of order", **directive))

    *_, failed, end = events.data
    assert end == END
    assert b"[DONE]" not in events.raw
    assert (set(failed), failed["code"]) == ({"code", "message", "data"}, 500)
    assert "out of order" in failed["message"]
    assert failed["data"] == {"answer": f"**ERROR**: {failed['message']}", "reference": []}


@pytest.mark.promise("conversations:4.5-whole-failure-22")
async def test_4_5_a_whole_answer_of_a_model_that_failed_is_an_answer(old: Old) -> None:
    path = f"/chats/{(await old.chat())['id']}"
    session = (await old.data("POST", f"{path}/sessions", json={}))["id"]

    sent = {"question": scripted(status=400, message="out of order"), "session_id": session, "stream": False}
    answer = await old.data("POST", f"{path}/completions", json=sent)

    assert answer["answer"].startswith("**ERROR**: ")
    assert "out of order" in answer["answer"]
    assert answer["session_id"] == session


@pytest.mark.promise("conversations:5.1-refusals-22", "conversations:1.4-required-keys-first")
async def test_5_1_refusals_and_that_absent_keys_come_before_the_api_key(old: Old) -> None:
    path = f"/chats_openai/{(await old.chat())['id']}/chat/completions"
    user = {"role": "user", "content": "How?"}
    for where, sent, refusal in (
        (path, {}, (101, "required argument are missing: model,messages; ")),
        (path, {"model": "model"}, (101, "required argument are missing: messages; ")),
        (path, {"model": "model", "messages": []}, (102, "You have to provide messages.")),
        (
            path,
            {"model": "model", "messages": [user, {"role": "assistant", "content": "So."}]},
            (102, "The last content of this conversation is not from user."),
        ),
        (
            "/chats_openai/nobody's/chat/completions",
            {"model": "model", "messages": [user]},
            (102, "You don't own the chat nobody's"),
        ),
    ):
        assert await old.refusal("POST", where, json=sent) == refusal
    nobody = {"Authorization": "Bearer nobody"}
    missing = await old.refusal("POST", path, json={"model": "x"}, headers=nobody)
    assert missing == (101, "required argument are missing: messages; ")
    for where, keys in (
        ("/openai/x/chat/completions", "model,messages"),
        ("/searchbots/ask", "question,kb_ids"),
        ("/searchbots/retrieval_test", "kb_id,question"),
        ("/searchbots/related_questions", "question"),
        ("/searchbots/mindmap", "question,kb_ids"),
    ):
        missing = await old.refusal("POST", where, json={}, headers=nobody)
        assert missing == (101, f"required argument are missing: {keys}; ")
    unknown = await old.call("POST", path, json={"model": "x", "messages": [user]}, headers=nobody)
    assert (unknown["code"], unknown["data"]) == (109, False)
    plain = await old.client.post(f"/api/v1{path}", json={}, headers=nobody)
    assert plain.status_code == 401  # the default dialect looks at the key first


@pytest.mark.promise("conversations:5.1-failure-22")
@pytest.mark.parametrize("directive", [{"status": 400}, {"pieces": 4, "error_after": 2}])
async def test_5_1_a_model_that_fails_says_so_as_an_answer(old: Old, directive: dict[str, Any]) -> None:
    path = f"/chats_openai/{(await old.chat())['id']}/chat/completions"
    question = scripted(message="out of order", **directive)
    sent = {"model": "model", "messages": [{"role": "user", "content": question}]}

    *_, told, last, end = (await old.stream(path, sent)).data
    assert told["choices"][0]["delta"]["content"].startswith("**ERROR**: ")
    assert "out of order" in told["choices"][0]["delta"]["content"]
    assert (last["choices"][0]["finish_reason"], last["choices"][0]["delta"]["content"]) == ("stop", None)
    assert set(last["usage"]) >= {"prompt_tokens", "completion_tokens", "total_tokens"}
    assert end == "[DONE]"
    whole = await old.call("POST", path, json={**sent, "stream": False})
    assert whole["choices"][0]["message"]["content"].startswith("**ERROR**: ")


@pytest.mark.promise("conversations:5.1-thinking-22")
async def test_5_1_thinking_stays_in_a_whole_answer(old: Old) -> None:
    path = f"/chats_openai/{(await old.chat())['id']}/chat/completions"
    question = scripted(text="Yes.", think="Hm.")
    sent = {"model": "model", "messages": [{"role": "user", "content": question}], "stream": False}

    message = (await old.call("POST", path, json=sent))["choices"][0]["message"]

    assert message["content"] == "<think>Hm.</think>Yes."
    assert "reasoning_content" not in message


@pytest.mark.promise("conversations:7.4-events-22")
async def test_7_4_bots_say_message_in_every_event(old: Old) -> None:
    chat = await old.chat(prompt={"opener": "Hello!"})
    page = await old.service.tenant(kind=KeyKind.EMBED, tenant_id=old.tenant.id)
    path = f"{V1}/chatbots/{chat['id']}/completions"

    async with old.service.client(page) as client:
        opener, end = (await stream(client, "POST", path, json={"question": "How?"})).data
        assert (opener["data"]["answer"], end) == ("Hello!", END)
        sent = {"question": scripted(text="One two."), "session_id": opener["data"]["session_id"]}
        *dicts, end = (await stream(client, "POST", path, json=sent)).data
    assert end == END
    assert all(set(one) == {"code", "message", "data"} for one in dicts)
    assert dicts[-1]["data"]["answer"] == "One two."
