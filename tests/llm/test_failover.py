import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

import anyio
import pytest

from app.domain.errors import UpstreamFailed, UpstreamLimited, UpstreamRefused, UpstreamTimeout
from app.domain.models import ChatMessage, GenerationOptions, ModelItem, ModelText, ModelUsage
from app.llm.base import UpstreamDenied
from app.llm.failover import FailoverChatModel
from app.llm.retry import RetryPolicy, Surroundings
from app.llm.scripted import ScriptedChatModel

PROMPT = [ChatMessage(role="user", content="hi")]
FAILED = UpstreamFailed("down")


class Scene:
    """A clock that only moves when somebody sleeps, and a chance of nought."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []
        self.attempts: list[tuple[str, str]] = []
        self.around = Surroundings(clock=lambda: self.now, sleep=self.sleep, chance=lambda: 0.0)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds

    def model(self, *upstreams: ScriptedChatModel, attempts: int = 2, first_token_s: float = 5) -> FailoverChatModel:
        return FailoverChatModel(
            "m",
            "p",
            upstreams,
            policy=RetryPolicy(attempts=attempts, base_s=1, cap_s=3, max_retry_after_s=10),
            first_token_s=first_token_s,
            cool_down_s=30,
            on_attempt=lambda provider, _model, outcome, _seconds: self.attempts.append((provider, outcome)),
            surroundings=self.around,
        )

    async def ask(self, model: FailoverChatModel, *, into: list[ModelItem] | None = None) -> list[ModelItem]:
        items: list[ModelItem] = [] if into is None else into
        deadline_s = asyncio.get_running_loop().time() + 1e6  # the real clock bounds the waits, the scene's the rest
        with anyio.fail_after(5):
            async with aclosing(model.stream(PROMPT, GenerationOptions(), deadline_s=deadline_s)) as batches:
                async for batch in batches:
                    items.extend(batch)
        return items


@pytest.fixture
def scene() -> Scene:
    return Scene()


def upstream(name: str, *script: ModelItem | Exception, **more: object) -> ScriptedChatModel:
    return ScriptedChatModel(*script, provider=name, **more)  # type: ignore[arg-type] # names of the fake's own options


def said(items: Sequence[ModelItem]) -> str:
    return "".join(item.text for item in items if isinstance(item, ModelText))


def attempt_of(items: Sequence[ModelItem]) -> int:
    assert isinstance(items[-1], ModelUsage)
    return items[-1].attempt


async def test_a_failure_before_the_first_piece_is_tried_again_after_a_doubling_backoff(scene: Scene) -> None:
    model = scene.model(upstream("a", FAILED, next_scripts=[[FAILED], [FAILED], [ModelText("hi")]]), attempts=4)

    items = await scene.ask(model)

    assert (said(items), attempt_of(items), scene.slept) == ("hi", 4, [1, 2, 3])
    assert scene.attempts == [("a", "failed")] * 3 + [("a", "ok")]


async def test_the_next_upstream_is_asked_when_one_is_given_up(scene: Scene) -> None:
    items = await scene.ask(scene.model(upstream("a", FAILED), upstream("b", ModelText("hi"))))

    assert (said(items), attempt_of(items)) == ("hi", 3)
    assert scene.attempts == [("a", "failed"), ("a", "failed"), ("b", "ok")]


@pytest.mark.parametrize(
    "error", [UpstreamDenied("key"), UpstreamTimeout("slow"), UpstreamLimited("429", retry_after_s=60)]
)
async def test_what_a_retry_cannot_help_goes_to_the_next_upstream_at_once(scene: Scene, error: UpstreamFailed) -> None:
    items = await scene.ask(scene.model(upstream("a", error), upstream("b", ModelText("hi"))))

    assert (said(items), attempt_of(items), scene.slept) == ("hi", 2, [])


async def test_a_short_retry_after_is_kept_to(scene: Scene) -> None:
    limited = UpstreamLimited("429", retry_after_s=7)

    await scene.ask(scene.model(upstream("a", limited, next_scripts=[[ModelText("hi")]])))

    assert scene.slept == [7]


async def test_a_refused_request_is_asked_of_nobody_else(scene: Scene) -> None:
    other = upstream("b", ModelText("hi"))

    with pytest.raises(UpstreamRefused):
        await scene.ask(scene.model(upstream("a", UpstreamRefused("too long")), other))

    assert other.calls == []
    assert scene.attempts == [("a", "refused")]


async def test_a_failure_after_the_first_piece_is_the_callers(scene: Scene) -> None:
    other, items = upstream("b", ModelText("hi")), list[ModelItem]()

    with pytest.raises(UpstreamFailed, match="down"):
        await scene.ask(scene.model(upstream("a", ModelText("half "), FAILED), other), into=items)

    assert (said(items), other.calls) == ("half ", [])


async def test_a_cooling_upstream_is_left_out_until_it_has_rested(scene: Scene) -> None:
    first = upstream("a", UpstreamTimeout("slow"), next_scripts=[[ModelText("a is back")]])
    model = scene.model(first, upstream("b", ModelText("b")))

    assert said(await scene.ask(model)) == "b"
    assert said(await scene.ask(model)) == "b"
    assert len(first.calls) == 1
    scene.now += 31
    assert said(await scene.ask(model)) == "a is back"


async def test_when_all_are_cooling_all_are_asked(scene: Scene) -> None:
    slow = UpstreamTimeout("slow")
    model = scene.model(upstream("a", slow, next_scripts=[[ModelText("a")]]), upstream("b", slow))
    with pytest.raises(UpstreamTimeout):
        await scene.ask(model)

    assert said(await scene.ask(model)) == "a"


async def test_an_upstream_that_hangs_before_its_first_piece_is_left_for_the_next(scene: Scene) -> None:
    hanging = upstream("a", hang=True)

    items = await scene.ask(scene.model(hanging, upstream("b", ModelText("hi")), first_token_s=0.05))

    assert said(items) == "hi"
    assert hanging.closed.is_set()
    assert scene.attempts == [("a", "timeout"), ("b", "ok")]


async def test_one_deadline_holds_for_all_attempts(scene: Scene) -> None:
    model = scene.model(upstream("a", FAILED), upstream("b", FAILED), attempts=10)
    loop_now = asyncio.get_running_loop().time()
    scene.now = loop_now
    batches = model.stream(PROMPT, GenerationOptions(), deadline_s=loop_now + 5)

    with anyio.fail_after(5), pytest.raises(UpstreamFailed, match="down"):
        await anext(batches)

    assert scene.now < loop_now + 5
    assert len(scene.attempts) <= 5


async def test_a_caller_that_leaves_closes_the_upstream(scene: Scene) -> None:
    model = upstream("a", ModelText("half"), hang=True)
    deadline_s = asyncio.get_running_loop().time() + 1e6
    stream: AsyncGenerator[Sequence[ModelItem], None] = scene.model(model).stream(
        PROMPT, GenerationOptions(), deadline_s=deadline_s
    )
    async with aclosing(stream):
        await anext(stream)

    assert model.closed.is_set()
    assert scene.attempts == [("a", "closed")]
