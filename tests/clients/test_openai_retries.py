"""The stock OpenAI client over a network that breaks: one call is one answer (design.md 1.5, openai.md 1.7)."""

import random
from typing import Any

import anyio
import openai
import pytest
from anyio import to_thread

from app.domain.chats import Chat
from tests.clients.proxy import Cut, CuttingProxy
from tests.conftest import Tenant
from tests.service import Service, scripted
from tests.upstream.fixtures import ScriptedUpstream

WORDS = 12
ANSWER = "".join(f"word{n} " for n in range(WORDS))
AT_ONCE = 12
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


def cuts_of(chance: random.Random) -> list[Cut]:
    """One or two cuts: in the request, in the head of the answer, in its body."""
    cuts: list[Cut] = []
    for _ in range(chance.choice((1, 2))):
        where = chance.choice(("request", "request", "head", "head", "body"))
        if where == "request":
            cuts.append(Cut("up", chance.randrange(1, 900)))
        else:
            cuts.append(Cut("down", chance.randrange(0, 350) if where == "head" else chance.randrange(350, 3000)))
    return cuts


class Outcome:
    """What one call came to."""

    def __init__(self, seed: int, cuts: list[Cut]) -> None:
        self.told = f"seed {seed}, {cuts}"
        self.question = ""
        self.text: str | None = None
        self.is_whole = False
        self.error: Exception | None = None
        self.connections = 0


def url(base_url: str, chat: Chat) -> str:
    return f"{base_url}/api/v1/chats_openai/{chat.id}"


async def call(service: Service, tenant: Tenant, chat: Chat, seed: int, *, is_async: bool, has_stream: bool) -> Outcome:
    chance = random.Random(f"{seed} {is_async} {has_stream}")  # noqa: S311
    cuts = cuts_of(chance)
    outcome = Outcome(seed, cuts)
    outcome.question = scripted(
        f"{seed} {is_async} {has_stream}",
        pieces=WORDS,
        gap_ms=chance.choice((0, 5, 60)),
        first_ms=chance.choice((0, 50)),
    )
    async with CuttingProxy(service.base_url, cuts).running() as proxy:
        arguments: dict[str, Any] = {"api_key": tenant.key, "base_url": url(proxy.base_url, chat), "timeout": 15}
        try:
            with anyio.fail_after(30):
                if is_async:
                    async with openai.AsyncOpenAI(**arguments) as client:
                        await ask_async(client, outcome, has_stream=has_stream)
                else:
                    await to_thread.run_sync(lambda: ask_sync(arguments, outcome, has_stream=has_stream))
        except (openai.APIError, openai.OpenAIError, OSError) as error:
            outcome.error = error
        except Exception as error:
            if not type(error).__module__.startswith("http"):  # a body that broke off is httpx's own error
                raise
            outcome.error = error
        outcome.connections = proxy.connections
    return outcome


async def ask_async(client: openai.AsyncOpenAI, outcome: Outcome, *, has_stream: bool) -> None:
    messages: Any = [{"role": "user", "content": outcome.question}]
    if not has_stream:
        answer = await client.chat.completions.create(model="model", messages=messages, stream=False)
        outcome.text, outcome.is_whole = answer.choices[0].message.content, True
        return
    outcome.text = ""
    async with await client.chat.completions.create(model="model", messages=messages, stream=True) as chunks:
        async for chunk in chunks:
            take(outcome, chunk)


def ask_sync(arguments: dict[str, Any], outcome: Outcome, *, has_stream: bool) -> None:
    messages: Any = [{"role": "user", "content": outcome.question}]
    with openai.OpenAI(**arguments) as client:
        if not has_stream:
            answer = client.chat.completions.create(model="model", messages=messages, stream=False)
            outcome.text, outcome.is_whole = answer.choices[0].message.content, True
            return
        outcome.text = ""
        with client.chat.completions.create(model="model", messages=messages, stream=True) as chunks:
            for chunk in chunks:
                take(outcome, chunk)


def take(outcome: Outcome, chunk: Any) -> None:
    for choice in chunk.choices:
        outcome.text = (outcome.text or "") + (choice.delta.content or "")
        outcome.is_whole = outcome.is_whole or choice.finish_reason == "stop"


@pytest.mark.parametrize("has_stream", [False, True])
@pytest.mark.parametrize("is_async", [True, False])
async def test_a_call_over_a_breaking_network_asks_the_model_once(
    service: Service, tenant: Tenant, chat: Chat, upstream: ScriptedUpstream, *, is_async: bool, has_stream: bool
) -> None:
    """Whatever the client finally got, the model was asked once; an answer that arrived is whole."""
    outcomes: list[Outcome] = []
    places = anyio.Semaphore(AT_ONCE)

    async def one(seed: int) -> None:
        async with places:
            outcomes.append(await call(service, tenant, chat, seed, is_async=is_async, has_stream=has_stream))

    async with anyio.create_task_group() as tasks:
        for seed in range(40):
            tasks.start_soon(one, seed)

    asked = [one["last_user_text"] for one in upstream.calls()]
    for outcome in outcomes:
        assert asked.count(outcome.question) == 1, (outcome.told, outcome.error, outcome.connections)
        if outcome.is_whole:
            assert outcome.text == ANSWER, outcome.told
        elif has_stream:
            assert ANSWER.startswith(outcome.text or ""), outcome.told
        else:
            assert outcome.error is not None
    if not has_stream:
        assert all(outcome.is_whole for outcome in outcomes)
    assert sum(outcome.connections > 1 for outcome in outcomes) > 10, "the network broke too little to prove anything"
