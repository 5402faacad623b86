"""Searches on a real Postgres behind the wall, chunks put in by hand: who is a candidate and what it measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest

from app.domain.ids import ChunkId, DatasetId, DocumentId, TenantId
from app.llm.scripted import ScriptedEmbeddingModel
from app.retrieval.common_words import CommonWords
from app.retrieval.query import query_terms
from app.retrieval.scoring import Hit, rank
from app.retrieval.search import Question, SearchConfig, gather
from app.retrieval.text_index import tsvector
from bench import shelf
from repositories.chunk_search import ChunkKey, SearchScope
from repositories.unit_of_work import Database
from tests.knowledge.searching import explained
from tests.pg import DatabaseUrls

TENANT, DATASET = TenantId("t"), DatasetId("ds")
MODEL = ScriptedEmbeddingModel()
FAR = [1.0] + [0.0] * 63
FIXTURE = ("This is the content of a test TXT file.", *(f"chunk test {number}" for number in range(4)))


@dataclass
class Ground:
    """A dataset of two documents, `a` and `b`."""

    database: Database
    connection: Any
    size: int = 0

    async def add(
        self,
        *texts: str,
        document: str = "a",
        title: str = "",
        keywords: Sequence[str] = (),
        questions: Sequence[str] = (),
        vector: Sequence[float] | None = None,
    ) -> list[str]:
        rows = [
            shelf.ShelfChunk(
                tenant_id=TENANT,
                dataset_id=DATASET,
                document_id=DocumentId(document),
                id=ChunkId(f"c{self.size + at:05}"),
                ordinal=self.size + at,
                content=text,
                lexemes=tsvector(text, title, keywords, questions),
                embedding=vector or MODEL.vector(text),
                token_count=1,
            )
            for at, text in enumerate(texts)
        ]
        await shelf.add_chunks(self.connection, rows)
        self.size += len(rows)
        return [row.id for row in rows]

    async def search(
        self,
        question: str,
        *,
        weight: float = 0.3,
        threshold: float = 0.2,
        top_k: int = 1024,
        vector: Sequence[float] | None = None,
        config: SearchConfig | None = None,
        documents: list[DocumentId] | None = None,
    ) -> list[Hit]:
        asked = Question(text=question, terms=query_terms(question), vector=vector or MODEL.vector(question))
        async with self.database.unit(TENANT) as unit:
            pool = await gather(
                unit.chunk_search,
                asked,
                SearchScope(dataset_ids=[DATASET], document_ids=documents),
                chunk_count=self.size,
                pageranks={},
                similarity_threshold=threshold,
                top_k=top_k,
                config=config or SearchConfig(),
                is_iterative=True,
                common_words=CommonWords(),
            )
        return rank(pool.candidates, vector_similarity_weight=weight, similarity_threshold=threshold)

    async def ids(self, question: str, **how: Any) -> list[str]:
        return [hit.candidate.chunk_id for hit in await self.search(question, **how)]


@pytest.fixture
async def ground(database: Database, fresh_database: DatabaseUrls) -> Any:
    connection = await asyncpg.connect(fresh_database.superuser.replace("+asyncpg", ""))
    documents = [(DocumentId(name), f"{name}.txt") for name in "ab"]
    await shelf.add_dataset(connection, TENANT, DATASET, model="x@y", documents=documents)
    yield Ground(database, connection)
    await connection.close()


@pytest.mark.promise("4.5-fixture", "4.3-term-range")
@pytest.mark.parametrize("weight", [0, 0.3, 0.5, 10])
@pytest.mark.parametrize("config", [SearchConfig(), SearchConfig(counted_chunks=0, exact_chunks=0)])
async def test_the_fixture_gives_four_of_five(ground: Ground, weight: float, config: SearchConfig) -> None:
    """Also the way large datasets are searched."""
    await ground.add(*FIXTURE)

    hits = await ground.search("chunk", weight=weight, config=config)

    assert sorted(hit.candidate.chunk_id for hit in hits) == ["c00001", "c00002", "c00003", "c00004"]
    assert {hit.term_similarity for hit in hits} == {1.0}


@pytest.mark.promise("4.3-bare-words", "7.3-idf")
async def test_without_vectors_the_weighed_share_of_words_decides(ground: Ground) -> None:
    await ground.add("common rare", "common", *["common filler"] * 30, vector=FAR)

    [best, *others] = await ground.search("common rare", weight=0, threshold=0)

    assert best.candidate.chunk_id == "c00000"
    assert best.similarity == pytest.approx(1.0)
    assert all(hit.similarity < 0.5 for hit in others)
    assert len(others) == 31


@pytest.mark.promise("4.3-term-range")
async def test_a_word_counts_less_once_in_a_long_chunk_and_more_when_repeated(ground: Ground) -> None:
    filler = " ".join(f"filler{number}" for number in range(300))
    short, once, often = await ground.add("walrus", f"walrus {filler}", f"walrus {filler} " + "walrus " * 9, vector=FAR)
    others = [f"h{one}{other}k" for one in "abcdefgh" for other in "abcdefgh"][:59]  # of one part each
    [usual] = await ground.add(" ".join(["walrus", *others]), vector=FAR)
    [full] = await ground.add(" ".join([*["walrus"] * 200, *others]), vector=FAR)

    hits = await ground.search("walrus", weight=0, threshold=0)

    scores = {hit.candidate.chunk_id: hit.similarity for hit in hits}
    assert [each for each in scores if each in (short, once, often)] == [short, often, once]
    assert scores[short] == 1.0
    assert scores[usual] == pytest.approx(0.61, abs=0.005)  # once in a chunk of usual length
    assert scores[full] == pytest.approx(1.0, abs=0.005)
    assert hits[-1].similarity > 0.2  # one word alone is still over the usual threshold


@pytest.mark.promise("4.3-bag", "7.5-fields")
async def test_a_word_counts_by_the_field_it_is_in(ground: Ground) -> None:
    text = " ".join(f"other{number}" for number in range(120))
    [asked] = await ground.add(text, questions=["Where is the walrus?"], vector=FAR)
    [keyed] = await ground.add(text, keywords=["walrus"], vector=FAR)
    [titled] = await ground.add(text, title="walrus", vector=FAR)
    [held] = await ground.add(f"{text} walrus", vector=FAR)
    [part] = await ground.add(f"{text} seaWalrus", vector=FAR)
    [titled_part] = await ground.add(text, title="seaWalrus", vector=FAR)

    hits = {hit.candidate.chunk_id: hit.similarity for hit in await ground.search("walrus", weight=0, threshold=0)}

    assert hits[asked] == pytest.approx(hits[keyed], rel=0.02)
    assert hits[keyed] > hits[titled] > hits[held] > hits[part] > 0
    assert hits[titled_part] == pytest.approx(hits[part], rel=0.02)


@pytest.mark.promise("4.3-synonyms", "4.3-score")
async def test_a_near_chunk_counts_as_holding_synonyms_of_what_it_lacks(ground: Ground) -> None:
    await ground.add("walrus", vector=[0.6, 0.8] + [0.0] * 62)
    await ground.add("walrus", document="b", vector=[0.0, 1.0] + [0.0] * 62)

    near, far = await ground.search("walrus habitat", vector=FAR, threshold=0)

    assert near.candidate.term_similarity == pytest.approx(far.candidate.term_similarity)
    words = near.candidate.term_similarity
    assert near.term_similarity == pytest.approx(words**2 + (1 - words**2) * 0.6, abs=1e-4)
    assert far.term_similarity == pytest.approx(words**2)


@pytest.mark.promise("4.5-lexical-and-near")
async def test_beside_lexical_hits_only_the_very_near_come_without_words(ground: Ground) -> None:
    [held] = await ground.add("walrus", vector=[0.0, 1.0] + [0.0] * 62)
    [near] = await ground.add("something else", vector=[0.8, 0.6] + [0.0] * 62)
    await ground.add("third thing", vector=[0.7, 0.714] + [0.0] * 62)

    assert sorted(await ground.ids("walrus", vector=FAR, threshold=0.2)) == [held, near]


@pytest.mark.promise("4.5-no-lexical")
async def test_without_lexical_hits_the_nearest_over_the_threshold_come(ground: Ground) -> None:
    made = [
        await ground.add(f"text {at}", vector=[at / 10, (1 - at * at / 100) ** 0.5] + [0.0] * 62) for at in range(10)
    ]
    nearest = [chunk_id for [chunk_id] in reversed(made)]
    config = SearchConfig(most_near=2)

    assert await ground.ids("walrus", vector=FAR, config=config, threshold=0.15) == nearest[:8]
    assert await ground.ids("walrus", vector=FAR, config=config, threshold=0.15, top_k=3) == nearest[:3]


@pytest.mark.promise("4.5-long", "4.5-short")
async def test_short_questions_need_a_third_of_their_words_and_long_ones_one(ground: Ground) -> None:
    await ground.add("walrus", "tusk of a walrus", "海象在北极", "海象", vector=FAR)
    other = [0.0, 1.0] + [0.0] * 62

    long = "where would one find a walrus beside some seals and bears and whales and foxes"
    assert len(await ground.ids(long, vector=other, threshold=0)) == 2
    assert await ground.ids("海象在北极的冰上", vector=other, threshold=0) == ["c00002"]


@pytest.mark.promise("4.5-short")
async def test_a_chunk_with_less_comes_when_none_has_the_usual_share(ground: Ground) -> None:
    """10 % on the retry: one of ten, two of twenty."""
    await ground.add("冰块", vector=FAR)
    other = [0.0, 1.0] + [0.0] * 62

    found = await ground.ids("海象在北极的冰块上睡觉", vector=other, threshold=0)

    assert found == ["c00000"]
    long = "海象在北极冰块上睡觉时梦见鲸鱼群游过大洋深处"
    assert len(query_terms(long)) == 21
    assert await ground.ids(long, vector=other, weight=0, threshold=0.001) == []
    await ground.add("冰块和鲸鱼", vector=FAR)
    assert await ground.ids(long, vector=other, weight=0, threshold=0.001) == ["c00001"]


@pytest.mark.promise("4.5-large")
async def test_in_a_large_dataset_rare_words_lead_and_common_ones_only_weigh(ground: Ground) -> None:
    vectors = [0.0, 1.0] + [0.0] * 62
    await ground.add(*(f"common filler w{number}" for number in range(60)), vector=vectors)
    [both] = await ground.add("common walrus", vector=vectors)
    config = SearchConfig(counted_chunks=10, exact_chunks=10, most_scanned=30, most_near=5)

    rare = await ground.search("common walrus", weight=0, threshold=0, config=config)
    alone = await ground.search("common", weight=0, threshold=0, config=config)

    assert rare[0].candidate.chunk_id == both
    assert rare[0].similarity == pytest.approx(1.0)
    assert len(alone) == 61  # nothing rarer was asked for
    assert len(await ground.ids("common", weight=0, threshold=0)) == 61


@pytest.mark.promise("4.5-large")
async def test_both_ways_of_searching_measure_alike(ground: Ground) -> None:
    texts = [f"walrus tusk {number}" if number % 3 else f"seal whiskers {number}" for number in range(40)]
    await ground.add(*texts)
    sampled = SearchConfig(counted_chunks=0, exact_chunks=0)

    small = await ground.search("walrus whiskers 7")
    large = await ground.search("walrus whiskers 7", config=sampled)

    assert [hit.candidate.chunk_id for hit in small] == [hit.candidate.chunk_id for hit in large]
    assert [hit.similarity for hit in small] == pytest.approx([hit.similarity for hit in large], abs=0.02)


@pytest.mark.promise("4.5-unavailable")
async def test_what_is_switched_off_takes_no_place_among_the_nearest(ground: Ground) -> None:
    await ground.add(*(f"off {number}" for number in range(20)), document="b", vector=FAR)
    [on] = await ground.add("on", vector=[0.9, 0.436] + [0.0] * 62)
    [hidden] = await ground.add("hidden", vector=FAR)
    await ground.connection.execute("UPDATE documents SET is_enabled = false WHERE id = 'b'")
    await ground.connection.execute("UPDATE chunks SET is_available = false WHERE id = $1", hidden)
    for config in (SearchConfig(), SearchConfig(counted_chunks=0, exact_chunks=0)):
        assert await ground.ids("walrus", vector=FAR, top_k=1, config=config) == [on]
        assert await ground.ids("off hidden", vector=FAR, config=config) == [on]


async def test_a_search_in_named_documents_finds_nothing_else(ground: Ground) -> None:
    await ground.add("walrus", document="a")
    [wanted] = await ground.add("walrus", document="b")

    assert await ground.ids("walrus", documents=[DocumentId("b")]) == [wanted]


@pytest.mark.promise("7.5-indexes")
@pytest.mark.parametrize("dimensions", [384, 768, 1024, 1536, 3072])
async def test_vectors_of_the_usual_dimensions_are_found_through_an_index(ground: Ground, dimensions: int) -> None:
    def vector(at: float) -> list[float]:
        return [1.0, at] + [0.0] * (dimensions - 2)

    for number in range(30):
        await ground.add(f"text {number}", vector=vector(number / 10))
    async with ground.database.unit(TENANT) as unit:
        scope = SearchScope(dataset_ids=[DATASET])
        with explained() as plans:
            found = await unit.chunk_search.find_near(scope, vector=vector(0), most=3, ef_search=100, is_iterative=True)
        exact = await unit.chunk_search.find_nearest(scope, vector=vector(0), most=3)
    assert found == exact == [ChunkKey(DocumentId("a"), ChunkId(f"c{number:05}")) for number in range(3)]
    assert len(plans) == 1
    assert f"ix_chunks_embedding_{dimensions}" in plans[0]


async def test_vectors_of_another_length_are_no_candidates(ground: Ground) -> None:
    [other] = await ground.add("walrus", vector=[1.0, 0.0])
    await ground.add("seal", vector=[1.0, 0.0])

    [hit] = await ground.search("walrus")

    assert (hit.candidate.chunk_id, hit.candidate.cosine) == (other, None)


async def test_a_vector_of_zeros_is_near_to_nothing(ground: Ground) -> None:
    await ground.add("walrus", vector=[0.0] * 64)

    [hit] = await ground.search("walrus")

    assert (hit.similarity, hit.candidate.cosine) == (1.0, None)


async def test_a_sample_says_what_is_common(ground: Ground) -> None:
    await ground.add(*(f"common w{number}" for number in range(20)))
    async with ground.database.unit(TENANT) as unit:
        shares = await CommonWords().shares(unit.chunk_search, [DATASET], ["common", "w7", "nowhere"])

    assert shares == {"common": 1.0}


async def test_where_the_rarest_words_are_nowhere_the_next_ones_lead(ground: Ground) -> None:
    """In a large dataset chunks are looked for by few words at a time; those of a long question may all be unknown."""
    await ground.add(*(f"seal number {number}" for number in range(30)))
    (wanted,) = await ground.add("A walrus on the ice.", vector=FAR)
    other = [0.0] * 63 + [1.0]
    await ground.add("Nothing of it.", vector=other)
    config = SearchConfig(counted_chunks=10, exact_chunks=10, most_near=1)

    question = "aardwolf bandicoot caracal dugong echidna fossa walrus seal"
    assert wanted in await ground.ids(question, vector=other, config=config, threshold=0)
    assert await ground.ids("aardwolf bandicoot caracal dugong echidna fossa", vector=other, config=config)


@pytest.mark.promise("4.5-large")
@pytest.mark.parametrize("count", [3, 12])
async def test_several_datasets_are_searched_as_one_whichever_way(ground: Ground, count: int) -> None:
    """Few datasets have an arm of the statement each, many share one."""
    datasets = [DatasetId(f"more{number:02}") for number in range(count)]
    for number, dataset in enumerate(datasets):
        document = DocumentId(f"d{number:02}")
        await shelf.add_dataset(
            ground.connection, TENANT, dataset, model="x@y", documents=[(document, f"{document}.txt")]
        )
        texts = [f"walrus {number}", f"seal {number}"]
        chunks = [
            shelf.ShelfChunk(
                tenant_id=TENANT, dataset_id=dataset, document_id=document, id=ChunkId(f"{number:02}-{at}"), ordinal=at,
                content=text, lexemes=tsvector(text, ""), embedding=MODEL.vector(text), token_count=1,
            )
            for at, text in enumerate(texts)
        ]  # fmt: skip
        await shelf.add_chunks(ground.connection, chunks)
    await ground.add("walrus elsewhere")
    question = Question(text="walrus", terms=query_terms("walrus"), vector=MODEL.vector("walrus"))
    found: list[list[tuple[str, DatasetId]]] = []
    for config in (SearchConfig(), SearchConfig(counted_chunks=0), SearchConfig(counted_chunks=0, exact_chunks=0)):
        async with ground.database.unit(TENANT) as unit:
            pool = await gather(
                unit.chunk_search, question, SearchScope(dataset_ids=datasets), chunk_count=2 * count, pageranks={},
                similarity_threshold=0.2, top_k=1024, config=config, is_iterative=True,
            )  # fmt: skip
        hits = rank(pool.candidates, vector_similarity_weight=0, similarity_threshold=0.2)
        found.append([(hit.candidate.chunk_id, pool.dataset_of[hit.candidate.document_id]) for hit in hits])

    assert found[0] == [(f"{number:02}-0", dataset) for number, dataset in enumerate(datasets)]
    assert found[1] == found[2] == found[0]


async def test_a_question_without_words_finds_what_is_near(ground: Ground) -> None:
    [near] = await ground.add("walrus", vector=FAR)

    for config in (SearchConfig(), SearchConfig(counted_chunks=0, exact_chunks=0)):
        assert await ground.ids("?!", vector=FAR, config=config) == [near]
