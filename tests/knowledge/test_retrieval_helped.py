"""Searches that a model helps with: keywords, translations, what a helper that fails leaves (knowledge.md 4.1, 4.2)."""

from typing import Any

import pytest

from app.domain.errors import UpstreamFailed
from tests.chats.world import Api
from tests.knowledge.searching import helped_by, purposes, refused, search
from tests.knowledge.world import World


@pytest.mark.promise("4.1-keyword", "4.1-flags", "4.1-helper-ledger")
@pytest.mark.parametrize(
    ("sent", "is_helped"),
    [
        (True, True),
        ("true", True),
        ("True", True),
        (1, True),
        (False, False),
        ("False", False),
        ("", False),
        (0, False),
    ],
)
async def test_keywords_are_searched_for_too(
    world: World, api: Api, fixture: tuple[str, str], sent: Any, is_helped: bool
) -> None:
    """`"False"` means what it says."""
    model = helped_by(world, "test, upload")

    found = await search(api, fixture[0], question="chunk", keyword=sent, similarity_threshold=0.0)

    assert len(model.calls) == is_helped
    assert world.embedding.calls[-1] == (("chunk, test, upload",) if is_helped else ("chunk",))
    assert found["total"] == (5 if is_helped else 4)
    assert await purposes(world, api) == [("keyword", "chat")] * is_helped + [("query", "embedding")]


@pytest.mark.promise("4.1-cross-languages", "4.1-helper-ledger")
async def test_translations_are_searched_for_instead(world: World, api: Api, fixture: tuple[str, str]) -> None:
    model = helped_by(world, "chunk 1\n###\nchunk 2")

    found = await search(api, fixture[0], question="Stück", cross_languages=["English", "Dutch", "English"])

    assert len(model.calls) == 1
    assert "English, Dutch." in model.calls[0].messages[0].content
    assert world.embedding.calls[-1] == ("chunk 1\nchunk 2",)
    assert found["total"] == 4
    assert await purposes(world, api) == [("translate", "chat"), ("query", "embedding")]


@pytest.mark.promise("4.1-helper-fails")
@pytest.mark.parametrize("said", [UpstreamFailed("down"), "", "I cannot " * 200])
async def test_a_helper_that_fails_leaves_the_question(
    world: World, api: Api, fixture: tuple[str, str], said: Any
) -> None:
    helped_by(world, said)

    found = await search(api, fixture[0], keyword=True, cross_languages=["German"])

    assert found == await search(api, fixture[0])


@pytest.mark.promise("4.1-helper-fails")
async def test_without_any_chat_model_the_question_is_searched_for(
    world: World, api: Api, fixture: tuple[str, str]
) -> None:
    found = await search(api, fixture[0], keyword=True, cross_languages=["German"], toc_enhance=True)

    assert found == await search(api, fixture[0])


@pytest.mark.promise("4.1-helper-ledger")
async def test_what_a_failed_search_cost_is_in_the_ledger(world: World, api: Api, fixture: tuple[str, str]) -> None:
    helped_by(world, "test")
    world.embedding.fails_with = UpstreamFailed("The embedding model is down.")

    answer = await refused(api, fixture[0], keyword=True)

    assert answer == (500, 500, "The embedding model is down.")
    assert await purposes(world, api) == [("keyword", "chat")]


@pytest.mark.promise("4.1-no-transaction", "4.1-helper-ledger")
async def test_no_transaction_is_open_while_a_model_is_asked(world: World, api: Api, fixture: tuple[str, str]) -> None:
    """Embedding, helper, reranker and what reads tables of contents alike."""
    held: list[int] = []
    pool: Any = world.engine.pool

    class Watching(type(world.embedding)):  # type: ignore[misc]
        async def embed(self, texts: Any, *, deadline_s: float) -> Any:
            held.append(pool.checkedout())
            return await super().embed(texts, deadline_s=deadline_s)

    class Ranker:
        name, provider = "ranker", "builtin"

        async def rerank(self, _query: str, passages: list[str], *, deadline_s: float) -> Any:
            from app.domain.models import Usage

            held.append(pool.checkedout())
            return [0.5] * len(passages), Usage()

    contents = '[{"level": 1, "title": "Files", "chunk_ids": ["x"]}]'
    await world.rows(api, "UPDATE documents SET toc = CAST(:toc AS jsonb) RETURNING 1", toc=contents)
    model = helped_by(world, "test")
    real = model.stream

    def stream(*positional: Any, **named: Any) -> Any:
        held.append(pool.checkedout())
        return real(*positional, **named)

    model.stream = stream  # type: ignore[method-assign]
    world.models["scripted-embedding"] = Watching(provider="builtin")
    world.models["ranker"] = Ranker()

    await search(api, fixture[0], keyword=True, rerank_id="ranker", toc_enhance=True)

    assert held == [0, 0, 0, 0]
    told = [("keyword", "chat"), ("query", "embedding"), ("query", "rerank"), ("toc", "chat")]
    assert await purposes(world, api) == told
