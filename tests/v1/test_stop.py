"""Stop sequences are kept even where the provider does not keep them (openai.md 3.1, CC-07)."""

import itertools
from typing import Any

import httpx
import pytest

from app.domain.chats import Chat
from app.llm.stopping import StopGuard
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import chunks_of, content_of, official, says
from tests.v1.ledger import ledger
from tests.v1.raw import ask, streamed

TEXT = "One two. ##EN D## then END of it, and more END"
KEPT = "One two. ##EN D## then "
DO: dict[str, Any] = {"text": TEXT, "ignores_stop": True, "gap_ms": 1}


def guarded(text: str, stops: tuple[str, ...], size: int) -> tuple[str, bool]:
    guard = StopGuard(stops)
    shown = [guard.feed(text[at : at + size])[0] for at in range(0, len(text), size)]
    return "".join([*shown, guard.flush()[0]]), guard.is_stopped


@pytest.mark.promise("openai:CC-07-anywhere")
def test_a_sequence_is_found_however_the_text_is_cut() -> None:
    cases = [
        (("END",), TEXT, (KEPT, True)),
        (("##END##", "it,"), TEXT, ("One two. ##EN D## then END of ", True)),
        (("aab",), "aaaab", ("aa", True)),
        (("abc", "b"), "abc", ("a", True)),  # what is whole first counts, as where it is generated
        (("none",), "no non", ("no non", False)),
        (("x" * 300,), "x" * 400, ("x" * 400, False)),  # too long to be looked for
        (("🐘🦣",), "a🐘🐘🦣b", ("a🐘", True)),
    ]
    for (stops, text, expected), size in itertools.product(cases, (1, 2, 3, 5, 1000)):
        assert guarded(text, stops, size) == expected, (stops, size)


@pytest.mark.promise("openai:CC-07-anywhere")
def test_tokens_are_told_with_their_text() -> None:
    tokens = [{"token": word, "bytes": list(word.encode())} for word in ("größe", " E", "N", " so", " EN", "D", "!")]
    guard = StopGuard(("END",))
    told = [guard.feed(str(token["token"]), [token]) for token in tokens]
    assert "".join(text for text, _ in told) == "größe EN so "
    assert [one["token"] for _, kept in told for one in kept] == ["größe", " E", "N", " so"]
    assert guard.flush() == ("", ())


@pytest.mark.promise("openai:CC-07", "openai:CC-07-anywhere", "openai:11-usage")
async def test_a_raw_model_that_goes_on_is_cut_off(client: httpx.AsyncClient, service: Service, tenant: Tenant) -> None:
    body = ask("How?", "able", do=DO | {"gap_ms": 40}, stop=["END", "\n\n"])
    whole = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
    events = await streamed(client, body | {"stream_options": {"include_usage": True}})
    assert (whole["message"]["content"], whole["finish_reason"]) == (KEPT, "stop")
    assert content_of(events.data[:-1]) == KEPT
    assert [one["choices"][0]["finish_reason"] for one in events.data[:-2]][-1] == "stop"
    usage = events.data[-2]["usage"]
    assert usage["estimated"] is True  # what the provider would have told at its end is not waited for
    assert usage["completion_tokens"] >= len(KEPT.split())
    assert events.data[-1] == "[DONE]"
    rows = await ledger(service, tenant, 2)
    assert [row.completion_tokens for row in rows][1] == usage["completion_tokens"]

    endless = ask("Endless?", do={"pieces": 10_000, "gap_ms": 10, "ignores_stop": True}, stop="word7")
    assert content_of((await streamed(client, endless)).data[:-1]) == "".join(f"word{n} " for n in range(7))
    await service.upstream.wait_for(lambda calls: calls[-1]["cancelled"], timeout_s=2)


@pytest.mark.promise("openai:CC-07-anywhere", "openai:10-completions")
async def test_choices_and_text_completions_end_each_for_itself(client: httpx.AsyncClient) -> None:
    for model in ("able", "scripted"):
        body = ask("How?", model, do=DO, stop="END", n=2)
        events = await streamed(client, body)
        whole = (await client.post("/v1/chat/completions", json=body)).json()
        assert [one["message"]["content"] for one in whole["choices"]] == [KEPT, KEPT]
        for index in (0, 1):
            said = [one["choices"][0] for one in events.data[:-1] if one["choices"][0]["index"] == index]
            assert "".join(one["delta"].get("content", "") for one in said) == KEPT
            assert [one["finish_reason"] for one in said if one["finish_reason"]] == ["stop"]
    text = {"model": "able", "prompt": ask(do=DO)["messages"][0]["content"], "stop": ["END"]}
    answer = (await client.post("/v1/completions", json=text)).json()["choices"][0]
    chunks = (await streamed(client, text, "/v1/completions")).data[:-1]
    assert (answer["text"], answer["finish_reason"]) == (KEPT, "stop")
    assert "".join(one["choices"][0]["text"] for one in chunks) == KEPT
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


@pytest.mark.promise("openai:CC-07-anywhere", "openai:CC-10")
async def test_logprobs_still_join_to_the_content(client: httpx.AsyncClient) -> None:
    body = ask("How?", "able", do=DO | {"logprobs": True}, stop="END", logprobs=True)
    whole = (await client.post("/v1/chat/completions", json=body)).json()["choices"][0]
    chunks = (await streamed(client, body)).data[:-1]
    streamed_tokens = [
        token["token"] for one in chunks for token in (one["choices"][0]["logprobs"] or {"content": []})["content"]
    ]
    assert "".join(one["token"] for one in whole["logprobs"]["content"]) == whole["message"]["content"] == KEPT
    assert "".join(streamed_tokens) == KEPT


@pytest.mark.promise("openai:CC-07-assistant")
async def test_an_assistants_answer_ends_there_too(service: Service, tenant: Tenant) -> None:
    chat = await service.chat(tenant)
    asked: dict[str, Any] = {"model": chat.id, "messages": says(TEXT, ignores_stop=True, gap_ms=1), "stop": ["END"]}
    async with official(service, tenant) as client:
        whole = await client.chat.completions.create(**asked)
        chunks = await chunks_of(client, **asked)
    assert (whole.choices[0].message.content, whole.choices[0].finish_reason) == (KEPT, "stop")
    assert content_of(chunks) == KEPT


@pytest.mark.promise("openai:CC-07-assistant")
async def test_one_that_is_kept_by_the_provider_costs_no_estimate(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        done = await client.chat.completions.create(model=chat.id, messages=says("One two END"), stop=["END"])
    assert done.choices[0].message.content == "One two "
    assert "estimated" not in done.usage.to_dict()
