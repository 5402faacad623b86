"""Tools of the caller with an assistant (openai.md 3.7)."""

import json
import re
from typing import Any

import openai
import pytest

from app.domain.chats import Chat
from app.domain.events import ToolCallPiece
from app.engine.draft import joined_calls as joined
from app.engine.follow import follow
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.assistants import WEATHER, asked_of, asks, chunks_of, joined_calls, knowing, official

TWO: list[dict[str, Any]] = [
    {"name": "weather", "arguments": '{"city": "Zürich"}'},
    {"name": "weather", "arguments": '{"city": "東京"}'},
]
ARGUMENTS = [one["arguments"] for one in TWO]


def calling(*calls: dict[str, Any], **directive: Any) -> dict[str, Any]:
    """Return a call whose model asks for `calls`."""
    messages = asks(calls=calls or TWO, finish="tool_calls", **directive)
    return {"messages": messages, "tools": [WEATHER]}


@pytest.mark.promise("openai:CC-11-assistant", "openai:CC-04-tools", "openai:3.7-unique-ids")
async def test_two_calls_go_round_whole_and_streamed(service: Service, tenant: Tenant, chat: Chat) -> None:
    call = {"model": chat.id, **calling(then="Sunny in both.")}
    async with official(service, tenant) as client:
        whole = await client.chat.completions.create(**call)
        chunks = await chunks_of(client, **call)
        async with client.chat.completions.stream(**call) as stream:
            async for _ in stream:
                pass
            helped = await stream.get_final_completion()
        choice = whole.choices[0]
        calls = choice.message.tool_calls or []
        results = [{"role": "tool", "tool_call_id": one.id, "content": "sunny"} for one in calls]
        said = choice.message.model_dump(include={"role", "content", "tool_calls"})
        end = await client.chat.completions.create(**{**call, "messages": [*call["messages"], said, *results]})

    assert (choice.finish_reason, choice.message.content) == ("tool_calls", None)
    assert [one.function.arguments for one in calls if one.type == "function"] == ARGUMENTS
    assert [(name, arguments) for _, name, arguments in joined_calls(chunks)] == [("weather", one) for one in ARGUMENTS]
    assert [one["choices"][0]["finish_reason"] for one in chunks][-1] == "tool_calls"
    assert [one.function.arguments for one in helped.choices[0].message.tool_calls or ()] == ARGUMENTS
    ids = [one.id for one in calls] + [one for one, _, _ in joined_calls(chunks)]
    ids += [one.id for one in helped.choices[0].message.tool_calls or ()]
    assert len(set(ids)) == 6
    assert all(re.fullmatch(r"call_(?!.*call_)[A-Za-z0-9_-]{8,}", one) for one in ids)
    assert [one.function.name for one in helped.choices[0].message.tool_calls or ()] == ["weather"] * 2
    assert end.choices[0].message.content == "Sunny in both."
    sent = asked_of(service)[-1]["messages"]
    assert [one["role"] for one in sent] == ["system", "user", "assistant", "tool", "tool"]
    assert [one["function"]["arguments"] for one in sent[2]["tool_calls"]] == ARGUMENTS
    assert sent[3]["tool_call_id"] == calls[0].id


@pytest.mark.promise("openai:3.4-tool-deltas")
async def test_calls_come_in_order_each_whole_before_the_next(service: Service, tenant: Tenant, chat: Chat) -> None:
    same = [{**one, "index": 0, "id": f"call_{at}"} for at, one in enumerate(TWO)]
    async with official(service, tenant) as client:
        mixed = await chunks_of(client, model=chat.id, **calling(mixes_calls=True))
        numbered_alike = await chunks_of(client, model=chat.id, **calling(*same))

    for chunks in (mixed, numbered_alike):
        assert chunks[0]["choices"][0]["delta"] == {"role": "assistant", "content": None}
        pieces = [one for chunk in chunks for one in chunk["choices"][0]["delta"].get("tool_calls", ())]
        assert [one["index"] for one in pieces] == sorted(one["index"] for one in pieces)
        heads = [one for one in pieces if "id" in one]
        assert [(one["index"], one["type"], one["function"]["arguments"]) for one in heads] == [
            (0, "function", ""),
            (1, "function", ""),
        ]
        assert all(set(one) == {"index", "function"} for one in pieces if one not in heads)
        assert [arguments for _, _, arguments in joined_calls(chunks)] == ARGUMENTS


@pytest.mark.promise("openai:3.7-parallel", "openai:3.7-raw-arguments", "openai:CC-12-assistant")
async def test_choices_among_tools_are_kept(service: Service, tenant: Tenant, chat: Chat) -> None:
    named = {"type": "function", "function": {"name": "weather"}}
    async with official(service, tenant) as client:
        one = await client.chat.completions.create(model=chat.id, **calling(), parallel_tool_calls=False)
        streamed = await chunks_of(client, model=chat.id, **calling(), parallel_tool_calls=False)
        odd = await client.chat.completions.create(model=chat.id, **calling({"name": "weather", "arguments": '{"a'}))
        await client.chat.completions.create(model=chat.id, **calling(), tool_choice="required")
        required = asked_of(service)[-1]
        await client.chat.completions.create(model=chat.id, **calling(), tool_choice=named)
        chosen = asked_of(service)[-1]
        none = await client.chat.completions.create(model=chat.id, **calling(), tool_choice="none")
        for tool_choice in ({"type": "function", "function": {"name": "tides"}}, "sometimes"):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.chat.completions.create(model=chat.id, **calling(), tool_choice=tool_choice)
            assert refused.value.param == "tool_choice"

    assert [each.function.arguments for each in one.choices[0].message.tool_calls or ()] == ARGUMENTS[:1]
    assert [arguments for _, _, arguments in joined_calls(streamed)] == ARGUMENTS[:1]
    assert [each.function.arguments for each in odd.choices[0].message.tool_calls or ()] == ['{"a']
    assert (required["tool_choice"], required["tools"]) == ("required", [WEATHER])
    assert chosen["tool_choice"] == named
    assert (none.choices[0].message.tool_calls, none.choices[0].finish_reason) == (None, "stop")


@pytest.mark.promise("openai:CC-13-assistant")
async def test_unpaired_tool_messages_are_refused_with_their_path(service: Service, tenant: Tenant, chat: Chat) -> None:
    asked = {"role": "assistant", "content": None, "tool_calls": [
        {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    ]}  # fmt: skip
    answered = {"role": "tool", "tool_call_id": "call_1", "content": "sunny"}
    question = {"role": "user", "content": "Weather?"}
    cases = [
        ([question, answered], "messages.1"),
        ([question, asked, question], "messages.1"),
        ([question, asked, answered, answered], "messages.3"),
    ]
    async with service.client(tenant) as client:
        for messages, param in cases:
            answer = await client.post("/v1/chat/completions", json={"model": chat.id, "messages": messages})
            assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)


@pytest.mark.promise("openai:3.7-no-second-retrieval")
async def test_a_continuation_does_not_search_again_unless_the_question_changed(
    service: Service, tenant: Tenant
) -> None:
    known = await knowing(service, tenant)
    call = {"model": known.chat.id, **calling(TWO[0], then="Forty tons [ID:0].")}
    async with official(service, tenant) as client:
        first = await client.chat.completions.create(**call)
        asked = first.choices[0].message.model_dump(include={"role", "content", "tool_calls"})
        made: Any = first.choices[0].message.tool_calls
        result = {"role": "tool", "tool_call_id": made[0].id, "content": "sunny"}
        going_on = [*call["messages"], asked, result]
        second = await client.chat.completions.create(**{**call, "messages": going_on})
        changed = [*going_on, *asks("And the crane Ottilie?", text="Ninety.")]
        third = await client.chat.completions.create(**{**call, "messages": changed})
        steps = [await steps_of(service, tenant, one.id) for one in (first, second, third)]

    assert ["retrieve" in each for each in steps] == [True, False, True]
    before: Any = (first.choices[0].message.model_extra or {})["reference"]
    after: Any = (second.choices[0].message.model_extra or {})["reference"]
    assert len(before["chunks"]) == 2
    assert [one["id"] for one in after["chunks"]] == [one["id"] for one in before["chunks"]]
    assert second.choices[0].message.content == "Forty tons [1]."


async def steps_of(service: Service, tenant: Tenant, completion_id: str) -> dict[str, float]:
    async with service.client(tenant) as client:
        answer = await client.get(f"/api/v1/turns/{completion_id.removeprefix('chatcmpl-')}")
    steps: dict[str, float] = answer.json()["data"]["timings_ms"]
    return steps


@pytest.mark.promise("openai:3.7-in-session", "openai:3.7-stored")
async def test_a_session_remembers_calls_and_what_the_tools_gave_back(
    service: Service, tenant: Tenant, chat: Chat
) -> None:
    async with service.client(tenant) as native, official(service, tenant) as client:
        made = await native.post(f"/api/v1/chats/{chat.id}/sessions", json={"name": "tools"})
        bound = {"session_id": made.json()["data"]["id"]}
        first = await client.chat.completions.create(model=chat.id, **calling(TWO[0], then="Sunny."), extra_body=bound)
        [call] = first.choices[0].message.tool_calls
        wrong = {"role": "tool", "tool_call_id": "call_of_nobody", "content": "x"}
        with pytest.raises(openai.BadRequestError):
            await client.chat.completions.create(model=chat.id, messages=[wrong], tools=[WEATHER], extra_body=bound)
        result: Any = {"role": "tool", "tool_call_id": call.id, "content": "sunny, 20 degrees"}
        second = await client.chat.completions.create(
            model=chat.id,
            messages=[result],
            tools=[WEATHER],
            extra_body=bound,
        )
        await client.chat.completions.create(model=chat.id, messages=asks(text="Bye."), extra_body=bound)
    sent = asked_of(service)

    assert second.choices[0].message.content == "Sunny."
    assert [one["role"] for one in sent[1]["messages"]] == ["system", "user", "assistant", "tool"]
    assert [one["role"] for one in sent[2]["messages"]] == [
        "system", "user", "assistant", "tool", "assistant", "user"
    ]  # fmt: skip
    assert sent[2]["messages"][3] == {
        "role": "tool", "tool_call_id": call.id, "content": "sunny, 20 degrees"
    }  # fmt: skip
    async with service.database.unit(tenant.id) as unit:
        stored = await unit.messages.of_turn(first.id.removeprefix("chatcmpl-"))
    assert [(one.id, one.name, one.arguments) for one in stored[-1].tool_calls] == [
        (call.id, "weather", TWO[0]["arguments"])
    ]


@pytest.mark.promise("openai:3.7-replay")
async def test_calls_are_in_the_log_of_the_turn(service: Service, tenant: Tenant, chat: Chat) -> None:
    async with official(service, tenant) as client:
        done = await client.chat.completions.create(model=chat.id, **calling())
    turn_id: Any = done.id.removeprefix("chatcmpl-")
    events = [event async for batch in follow(service.parts.engine, tenant.id, turn_id) for event in batch]

    calls = joined(event for _, event in events if isinstance(event, ToolCallPiece))
    assert [one.arguments for one in calls] == ARGUMENTS
    assert [json.loads(one.arguments)["city"] for one in calls] == ["Zürich", "東京"]
    numbers = [number for number, _ in events]
    assert numbers == list(range(1, len(events) + 1))
