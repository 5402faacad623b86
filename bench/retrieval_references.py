"""What a search of the judged set is held against: the simplest things that could be used in its place."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy

if TYPE_CHECKING:
    from bench.retrieval import Chunk, KeptVectors, Ranking

_DEEP = 50

_ENGLISH = """
    CREATE TABLE bench_english AS SELECT document_id, id, to_tsvector('english', content) AS words FROM chunks;
    CREATE INDEX bench_english_words ON bench_english USING gin (words); ANALYZE bench_english
"""
_TS_RANK = """
    WITH q AS (SELECT replace(plainto_tsquery('english', $1)::text, '&', '|')::tsquery AS query)
    SELECT c.document_id FROM bench_english c, q WHERE c.words @@ q.query
    ORDER BY ts_rank(c.words, q.query) DESC, c.id LIMIT $2
"""


async def ts_rank(connection: Any, questions: Sequence[tuple[int, str]]) -> "Ranking":
    """Return what PostgreSQL's own English search and `ts_rank` give; a chunk with any of the words is found."""
    await connection.execute(_ENGLISH)
    found: Ranking = {}
    for number, (_, text) in enumerate(questions):
        rows = await connection.fetch(_TS_RANK, text, _DEEP)
        found[number] = list(dict.fromkeys(int(row["document_id"]) for row in rows))
    await connection.execute("DROP TABLE bench_english")
    return found


def in_memory(
    chunks: "Sequence[Chunk]", questions: Sequence[tuple[int, str]], model: "KeptVectors"
) -> "dict[str, Ranking]":
    """Return what BM25 (bm25s with its own tokenizer and English stop words) and a plain cosine over the texts give."""
    import bm25s

    pages = [one.page for one in chunks]
    vectors = numpy.array([model.vector(one.content) for one in chunks])
    index: Any = bm25s.BM25()
    index.index(
        bm25s.tokenize([one.content for one in chunks], stopwords="en", show_progress=False), show_progress=False
    )
    cosine: Ranking = {}
    bm25: Ranking = {}
    for number, (_, text) in enumerate(questions):
        cosine[number] = _pages(pages, vectors @ model.vector(text))
        asked: Any = bm25s.tokenize([text], stopwords="en", show_progress=False)
        best = index.retrieve(asked, k=min(_DEEP, len(chunks)), show_progress=False)[0][0]
        bm25[number] = list(dict.fromkeys(pages[at] for at in best.tolist()))
    return {"reference: BM25 (bm25s)": bm25, "reference: cosine": cosine}


def _pages(pages: Sequence[int], scores: Any) -> list[int]:
    return list(dict.fromkeys(pages[at] for at in numpy.argsort(-scores, kind="stable")[:_DEEP].tolist()))
