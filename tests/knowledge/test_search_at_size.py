"""Searches behind the wall use their indexes, exact and approximate ones agree, and the built-in model finds things."""

from typing import Any

import anyio
import pytest
from sqlalchemy import text

from app.db.engine import create_engine
from app.domain.ids import DatasetId
from app.llm.embedded_embedding import EmbeddedEmbeddingModel
from app.retrieval.search import SearchConfig
from app.retrieval.service import Retriever
from repositories.chunk_search import SearchScope
from tests.chats.world import Api
from tests.knowledge.searching import explained
from tests.knowledge.world import World, add_chunk, make_dataset, parsed, upload

_MANY = """
    INSERT INTO chunks (tenant_id, document_id, id, dataset_id, ordinal, content, lexemes, embedding, dimensions,
        token_count)
    SELECT :tenant, :document, 'c' || i, :dataset, i, 'words', CAST('w' || i || '\\:1C common\\:2C' AS tsvector),
        CAST('[1,' || i || ']' AS vector), 2, 1
    FROM generate_series(1, 3000) i RETURNING 1
"""


@pytest.fixture
async def many(world: World, api: Api) -> str:
    """A dataset of 3000 chunks."""
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("a.txt", b"x"))
    names: dict[str, Any] = {"tenant": api.tenant_id, "document": document["id"], "dataset": dataset["id"]}
    await world.rows(api, _MANY, **names)
    await world.rows(api, "UPDATE datasets SET chunk_count = 3000 WHERE id = :id RETURNING 1", id=dataset["id"])
    return str(dataset["id"])


@pytest.mark.promise("7.5-indexes")
async def test_the_text_index_is_used_behind_the_wall(world: World, api: Api, many: str) -> None:
    """design.md 1.4, 6: row-level security must not cost the index (`app/db/roles.py`, LEAKPROOF)."""
    query = "CAST('''w77''' AS tsquery)"
    owner = create_engine(world.urls.owner, pool_size=1)  # autovacuum would do it in a minute
    async with owner.begin() as connection:
        await connection.execute(text("ANALYZE chunks"))
    await owner.dispose()
    plan = await world.rows(
        api,
        f"EXPLAIN SELECT id FROM chunks WHERE tenant_id = :t AND dataset_id = ANY(:d) AND lexemes @@ {query}",  # noqa: S608
        t=api.tenant_id,
        d=[many],
    )

    told = "\n".join(row[0] for row in plan)
    assert "ix_chunks_lexemes" in told
    assert "@@" in told.split("Index Cond:")[1].split("\n")[0]

    scope = SearchScope(dataset_ids=[DatasetId(many)])
    async with world.database.unit(api.tenant_id) as unit:
        with explained() as plans:
            found = await unit.chunk_search.find_holding(
                scope, {"w77": 1.0, "w78": 1.0}, chunk_count=3000, most_each=1000, most=256
            )
    assert sorted(chunk.id for chunk in found.chunks) == ["c77", "c78"]
    assert len(plans) == 1
    assert "ix_chunks_lexemes" in plans[0]


async def test_a_transaction_of_another_tenant_sees_no_chunk(world: World, rival: Api, many: str) -> None:
    """design.md 1.4: also where no statement filters."""
    assert await world.rows(rival, "SELECT 1 FROM chunks WHERE lexemes @@ CAST('common' AS tsquery)") == []
    async with world.engine.begin() as connection:
        assert (await connection.execute(text("SELECT count(*) FROM chunks"))).scalar_one() == 0


async def test_the_approximate_and_the_exact_search_agree(world: World, api: Api) -> None:
    """design.md 4: large datasets go through the index, small ones are compared one by one."""
    model = EmbeddedEmbeddingModel()
    world.models["other-embedding"] = model
    dataset = await make_dataset(api, embedding_model="other-embedding@builtin")
    files = [(f"{animal}.txt", f"Everything about the {animal}.".encode()) for animal in ("cat", "dog", "cow", "owl")]
    await parsed(world, api, dataset["id"], *files)
    body = {"question": "feline pets", "dataset_ids": [dataset["id"]], "vector_similarity_weight": 1}

    exact = await api.ok("POST", "/retrieval", json=body)
    world.app.state.retriever = Retriever(
        world.database, world.catalogue, SearchConfig(counted_chunks=0, exact_chunks=0)
    )
    with world.queries() as statements:
        approximate = await api.ok("POST", "/retrieval", json=body)

    assert any("hnsw.ef_search" in statement for statement in statements)
    assert exact == approximate
    assert exact["chunks"][0]["document_name"] == "cat.txt"


@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 10])
async def test_the_fixture_holds_with_the_built_in_model(world: World, api: Api, weight: float) -> None:
    """knowledge.md 4.5: question `chunk` gives exactly 4 of 5."""
    model = EmbeddedEmbeddingModel()
    world.models["other-embedding"] = model
    dataset = await make_dataset(api, embedding_model="other-embedding@builtin")
    text_file = ("ragflow_test_upload_0.txt", b"This is the content of a test TXT file.")
    [document] = await parsed(world, api, dataset["id"], text_file)
    deadline_s = anyio.current_time() + 30
    for number in range(4):
        content = f"chunk test {number}"
        [vector] = (await model.embed([content], deadline_s=deadline_s)).vectors
        await add_chunk(world, api, dataset["id"], document["id"], content, vector)
    body = {"question": "chunk", "dataset_ids": [dataset["id"]], "vector_similarity_weight": weight}

    found = await api.ok("POST", "/retrieval", json=body)

    assert sorted(chunk["content"] for chunk in found["chunks"]) == [f"chunk test {n}" for n in range(4)]


async def test_a_word_of_every_chunk_brings_no_crowd_into_a_large_search(world: World, api: Api, many: str) -> None:
    """knowledge.md 4.5 at size: rarer words choose the candidates; alone, the common word still finds."""
    world.app.state.retriever = Retriever(
        world.database, world.catalogue, SearchConfig(exact_chunks=10, most_scanned=1000)
    )
    body = {"dataset_ids": [many], "similarity_threshold": 0, "vector_similarity_weight": 0}

    both = await api.ok("POST", "/retrieval", json={**body, "question": "common w77"})
    alone = await api.ok("POST", "/retrieval", json={**body, "question": "common"})

    assert [chunk["id"] for chunk in both["chunks"]] == ["c77"]
    assert both["chunks"][0]["term_similarity"] == pytest.approx(1.0)
    assert alone["total"] == SearchConfig().most_lexical  # some of the 3000: nothing tells them apart
