import asyncio
import math

import anyio
import pytest

from app.domain.errors import UpstreamFailed, UpstreamRefused, UpstreamTimeout
from app.llm.base import UpstreamDenied
from app.llm.http_calls import Endpoint
from app.llm.openai_embedding import OpenAIEmbeddingModel
from app.llm.rerank import HttpRerankModel, RerankShape
from app.llm.retry import RetryPolicy
from app.llm.scripted import ScriptedEmbeddingModel
from app.llm.tokens import ApproximateTokenCounter
from app.net.http import HttpClient
from tests.upstream.fixtures import ScriptedUpstream

COUNTER = ApproximateTokenCounter()
QUICK = RetryPolicy(attempts=3, base_s=0.001)


def endpoint(upstream: ScriptedUpstream, model: str = "m") -> Endpoint:
    return Endpoint(name="m", provider="p", base_url=upstream.base_url, api_key="k", upstream_name=model, policy=QUICK)


def soon() -> float:
    return asyncio.get_running_loop().time() + 5


async def test_vectors_come_in_the_order_of_the_texts_over_several_batches(
    http: HttpClient, upstream: ScriptedUpstream
) -> None:
    model = OpenAIEmbeddingModel(endpoint(upstream), 8, http, COUNTER, batch_size=2)
    texts = ["one", "two words", "three", "", "five"]

    together = await model.embed(texts, deadline_s=soon())
    alone = [(await model.embed([text], deadline_s=soon())).vectors[0] for text in texts]

    assert together.vectors == alone
    assert all(math.isclose(math.hypot(*vector), 1) for vector in together.vectors)
    assert (together.usage.prompt_tokens, together.usage.is_estimated) == (5, False)


async def test_vectors_of_another_length_than_configured_fail_with_both_lengths(
    http: HttpClient, upstream: ScriptedUpstream
) -> None:
    with pytest.raises(UpstreamFailed, match=r"length 8.*384 dimensions"):
        await OpenAIEmbeddingModel(endpoint(upstream), 384, http, COUNTER).embed(["x"], deadline_s=soon())


async def test_usage_the_provider_does_not_tell_is_estimated(http: HttpClient, upstream: ScriptedUpstream) -> None:
    model = OpenAIEmbeddingModel(endpoint(upstream, 'm@@{"no_usage":true}'), 8, http, COUNTER)

    assert (await model.embed(["x" * 40], deadline_s=soon())).usage.is_estimated


async def test_a_failing_provider_is_asked_again(http: HttpClient, upstream: ScriptedUpstream) -> None:
    outcomes: list[str] = []
    model = OpenAIEmbeddingModel(
        endpoint(upstream, 'm@@{"status":503,"times":2}'),
        8,
        http,
        COUNTER,
        on_attempt=lambda _provider, _model, outcome, _seconds: outcomes.append(outcome),
    )

    assert len((await model.embed(["x"], deadline_s=soon())).vectors) == 1
    assert outcomes == ["failed", "failed", "ok"]


@pytest.mark.parametrize(("status", "error"), [(400, UpstreamRefused), (401, UpstreamDenied)])
async def test_what_a_retry_cannot_help_is_asked_once(
    http: HttpClient, upstream: ScriptedUpstream, status: int, error: type[UpstreamFailed]
) -> None:
    model = OpenAIEmbeddingModel(endpoint(upstream, f'm@@{{"status":{status}}}'), 8, http, COUNTER)

    with pytest.raises(error):
        await model.embed(["x"], deadline_s=soon())
    assert len(upstream.calls()) == 1


async def test_the_deadline_ends_a_slow_call(http: HttpClient, upstream: ScriptedUpstream) -> None:
    model = OpenAIEmbeddingModel(endpoint(upstream, 'm@@{"head_ms":60000}'), 8, http, COUNTER)

    with anyio.fail_after(5), pytest.raises(UpstreamTimeout):
        await model.embed(["x"], deadline_s=asyncio.get_running_loop().time() + 0.1)


@pytest.mark.parametrize("shape", ["cohere", "tei"])
async def test_scores_come_in_the_order_of_the_passages(
    http: HttpClient, upstream: ScriptedUpstream, shape: RerankShape
) -> None:
    model = HttpRerankModel(endpoint(upstream), http, COUNTER, shape=shape)

    scores, usage = await model.rerank("red cat", ["a dog", "a red cat", "a red dog"], deadline_s=soon())

    assert scores == [0.0, 1.0, 0.5]
    assert usage.is_estimated is (shape == "tei")
    assert usage.prompt_tokens > 0


async def test_no_passages_cost_no_call(http: HttpClient, upstream: ScriptedUpstream) -> None:
    assert (await HttpRerankModel(endpoint(upstream), http, COUNTER).rerank("q", [], deadline_s=soon()))[0] == []
    assert upstream.calls() == []


async def test_scripted_vectors_are_near_when_words_are_shared() -> None:
    model = ScriptedEmbeddingModel()
    question, near, far = (
        await model.embed(["where is the cat", "the cat is here", "volcanoes erupt suddenly"], deadline_s=0)
    ).vectors

    assert sum(map(float.__mul__, question, near)) > sum(map(float.__mul__, question, far))
    assert math.isclose(math.hypot(*question), 1)
