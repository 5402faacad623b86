"""Walks what an official Python client of OpenAI can call on `/v1`, whichever version of it is installed.

python -m tests.clients.openai_walk BASE_URL KEY ASSISTANT RAW_MODEL EMBEDDING_MODEL
"""

import asyncio
import json
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

import openai
import pydantic

WORDS = "".join(f"word{number} " for number in range(16))
MESSAGES: Any = [{"role": "user", "content": "What is it?"}]


CALLS = [{"name": "Load", "arguments": '{"tons": 40}'}, {"name": "Load", "arguments": '{"tons": 90}'}]


class Load(pydantic.BaseModel):
    """What a crane lifts."""

    tons: int


def says(question: str = "How?", **directive: object) -> Any:
    """Return messages that tell the scripted model what to do (tests/upstream/directives.py)."""
    return [{"role": "user", "content": f"{question} @@{json.dumps(directive)}"}]


def expect(error: type[Exception], call: Callable[[], object]) -> Any:
    """Return the error that `call` raises."""
    try:
        call()
    except error as raised:
        return raised
    raise AssertionError(f"{error.__name__} was not raised")


def walk_models(client: openai.OpenAI, ids: list[str]) -> None:
    listed = [model.id for model in client.models.list()]
    for model in ids:
        assert model in listed, (model, listed)
        assert client.models.retrieve(model).id == model


def walk_chat(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=MESSAGES)
    assert answer.choices[0].message.content == WORDS, answer
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert (answer._request_id or "").startswith("req_")
    chunks = list(
        client.chat.completions.create(
            model=model, messages=MESSAGES, stream=True, stream_options={"include_usage": True}
        )
    )
    pieces = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    roles = [chunk.choices[0].delta.role for chunk in chunks if chunk.choices and chunk.choices[0].delta.role]
    assert ("".join(pieces), roles) == (WORDS, ["assistant"])
    assert len({chunk.id for chunk in chunks}) == 1
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    raw = client.chat.completions.with_raw_response.create(model=model, messages=MESSAGES)
    assert raw.headers["x-request-id"]


async def walk_chat_async(base_url: str, key: str, model: str) -> None:
    async with openai.AsyncOpenAI(base_url=base_url, api_key=key, max_retries=0) as client:
        stream = await client.chat.completions.create(model=model, messages=MESSAGES, stream=True)
        text = "".join([chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices])
        assert text == WORDS


def walk_helpers(client: openai.OpenAI, model: str) -> None:
    chats: Any = client.chat.completions
    for helper in (chats, client.beta.chat.completions):
        told = helper.parse(model=model, messages=says(text='{"tons": 40}'), response_format=Load)
        assert told.choices[0].message.parsed == Load(tons=40)
    for mixes in (False, True):
        asked = says(calls=CALLS, finish="tool_calls", mixes_calls=mixes)
        with chats.stream(model=model, messages=asked, tools=[openai.pydantic_function_tool(Load)]) as stream:
            done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
            message = stream.get_final_completion().choices[0].message
        assert [event.parsed_arguments for event in done] == [Load(tons=40), Load(tons=90)]
        assert (message.role, [one.function.name for one in message.tool_calls]) == ("assistant", ["Load", "Load"])
    for finish, error in (
        ("length", openai.LengthFinishReasonError),
        ("content_filter", openai.ContentFilterFinishReasonError),
    ):
        asked = says(text="cut", finish=finish)
        expect(error, partial(chats.parse, model=model, messages=asked, response_format=Load))
    stopped = chats.create(model=model, messages=says(text="One END two", ignores_stop=True), stop=["END"])
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("One ", "stop")
    with chats.with_streaming_response.create(model=model, messages=MESSAGES) as raw:
        assert raw.parse().choices[0].message.content == WORDS


def walk_failures(client: openai.OpenAI, model: str) -> None:
    """What breaks before the first byte is a status, which is retried; what breaks after it is an `APIError`."""
    chats: Any = client.chat.completions
    for status, error in ((429, openai.RateLimitError), (500, openai.InternalServerError)):
        asked = says(status=status)
        expect(error, partial(chats.create, model=model, messages=asked, stream=True))
    patient: Any = client.with_options(max_retries=2).chat.completions
    asked = says(f"{model} {openai.__version__}", status=429, times=2, text="At last.")
    assert patient.create(model=model, messages=asked).choices[0].message.content == "At last."
    broken = expect(openai.APIError, lambda: list(chats.create(model=model, messages=says(error_after=2), stream=True)))
    assert (broken.code, isinstance(broken, openai.APIStatusError)) == ("upstream_error", False)
    hasty: Any = client.with_options(timeout=0.3).chat.completions
    expect(openai.APITimeoutError, lambda: hasty.create(model=model, messages=says(head_ms=2000)))


def walk_embeddings(client: openai.OpenAI, model: str) -> None:
    packed = client.embeddings.create(model=model, input=["one", "two"])
    plain = client.embeddings.create(model=model, input=["one", "two"], encoding_format="float")
    for one, other in zip(packed.data, plain.data, strict=True):
        assert max(abs(a - b) for a, b in zip(one.embedding, other.embedding, strict=True)) < 1e-6


def walk_errors(client: openai.OpenAI, base_url: str, model: str) -> None:
    wrong = openai.OpenAI(base_url=base_url, api_key="nobody", max_retries=0)
    assert expect(openai.AuthenticationError, wrong.models.list).code == "invalid_api_key"
    missing = expect(openai.NotFoundError, lambda: client.models.retrieve("nothing"))
    assert missing.code == "model_not_found"
    expect(openai.NotFoundError, lambda: client.chat.completions.create(model="nothing", messages=MESSAGES))
    bad = expect(
        openai.BadRequestError,
        lambda: client.chat.completions.create(model=model, messages=MESSAGES, temperature=9),
    )
    assert bad.param == "temperature"


def main() -> None:
    base_url, key, assistant, raw, embedding = sys.argv[1:]
    client = openai.OpenAI(base_url=base_url, api_key=key, max_retries=0)
    sys.stdout.write(f"openai {openai.__version__}\n")
    steps: dict[str, Callable[[], object]] = {
        "models": lambda: walk_models(client, [assistant, raw, embedding]),
        "chat with an assistant": lambda: walk_chat(client, assistant),
        "chat with a raw model": lambda: walk_chat(client, raw),
        "chat, asynchronous": lambda: asyncio.run(walk_chat_async(base_url, key, assistant)),
        "helpers with an assistant": lambda: walk_helpers(client, assistant),
        "helpers with a raw model": lambda: walk_helpers(client, raw),
        "failures with an assistant": lambda: walk_failures(client, assistant),
        "failures with a raw model": lambda: walk_failures(client, raw),
        "embeddings": lambda: walk_embeddings(client, embedding),
        "completions": lambda: client.completions.create(model=raw, prompt="Once").choices[0].text,
        "errors": lambda: walk_errors(client, base_url, raw),
    }
    for name, run in steps.items():
        run()
        sys.stdout.write(f"ok  {name}\n")


if __name__ == "__main__":
    main()
