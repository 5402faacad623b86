"""The embedded rerank model: `minilm-maxsim@builtin`."""

import asyncio

import pytest

from app.domain.errors import UpstreamTimeout
from app.llm.embedded_embedding import EmbeddedEmbeddingModel
from app.llm.embedded_rerank import EmbeddedRerankModel

pytestmark = pytest.mark.timeout(60)

PASSAGES = (
    "The train to Oslo leaves at nine in the morning.",
    "Cats sleep for most of the day and hunt at night.",
    "A stock index is a number that stands for many shares.",
)


def soon() -> float:
    return asyncio.get_running_loop().time() + 30


async def test_the_passage_that_answers_has_the_highest_score_and_tokens_are_counted() -> None:
    model = EmbeddedRerankModel(EmbeddedEmbeddingModel())

    scores, usage = await model.rerank("When do cats rest?", PASSAGES, deadline_s=soon())

    assert max(range(3), key=scores.__getitem__) == 1
    assert all(0 <= score <= 1 for score in scores)
    read = EmbeddedEmbeddingModel().embed_sync(["When do cats rest?", *PASSAGES])
    assert usage == read.usage
    assert not usage.is_estimated


async def test_a_text_is_nearest_to_itself() -> None:
    model = EmbeddedRerankModel(EmbeddedEmbeddingModel())

    scores, _ = await model.rerank(PASSAGES[0], PASSAGES, deadline_s=soon())

    assert scores[0] == pytest.approx(1.0, abs=1e-3)
    assert scores[0] > max(scores[1:])


async def test_passages_beyond_the_first_24_are_not_read_and_come_last() -> None:
    model = EmbeddedRerankModel(EmbeddedEmbeddingModel())
    passages = [*("nothing of the kind" for _ in range(23)), PASSAGES[1], *PASSAGES]

    scores, usage = await model.rerank("When do cats rest?", passages, deadline_s=soon())
    _, of_read = await model.rerank("When do cats rest?", passages[:24], deadline_s=soon())

    assert len(scores) == 27
    assert usage == of_read
    assert scores[24:] == [min(scores[:24])] * 3


async def test_nothing_to_rank_costs_nothing() -> None:
    scores, usage = await EmbeddedRerankModel(EmbeddedEmbeddingModel()).rerank("x", [], deadline_s=soon())
    assert (scores, usage.prompt_tokens) == ([], 0)


async def test_too_little_time_is_told() -> None:
    model = EmbeddedRerankModel(EmbeddedEmbeddingModel())
    with pytest.raises(UpstreamTimeout):
        await model.rerank("x", PASSAGES, deadline_s=asyncio.get_running_loop().time())
