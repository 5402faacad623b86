"""What `ChunkSearch` asks: chunks by their words, by their vectors, and what the question has of each."""

from functools import cache

from app.db.vectors import VECTOR_BUCKETS, bucket_of
from repositories.statements import Statement

FIELD_WEIGHTS = (0.3, 0.6, 0.8, 1.0)
"""What a word counts in D the fine parts, C the content, B the title, A keywords and questions (text_index.py)."""
USUAL_LENGTH = 60.0
"""Lexemes of a chunk whose length counts neither for nor against it."""
LENGTH_BASE = 0.25
"""Share of the length that every chunk is taken to have, so that the shortest ones do not win by that alone."""

# The documents that are switched off are few: they are read once and looked up by hash.
_OFF = """SELECT d.id FROM documents d WHERE d.tenant_id = :tenant
    AND d.dataset_id = ANY(CAST(:dataset_ids AS text[])) AND NOT d.is_enabled"""
_IN_DOCUMENTS = """c.tenant_id = :tenant AND c.is_available
    AND (CAST(:document_ids AS text[]) IS NULL OR c.document_id = ANY(CAST(:document_ids AS text[])))"""
_IN_SCOPE = f"{_IN_DOCUMENTS} AND c.document_id NOT IN ({_OFF})"
_SEARCHED = f"c.dataset_id = ANY(CAST(:dataset_ids AS text[])) AND {_IN_SCOPE}"

_ARMS = VECTOR_BUCKETS
"""Up to so many datasets are searched one by one: an index is asked for one value of its first column, not for many."""

FREQUENCIES = Statement("""
    SELECT t.lexeme, (
        SELECT count(*) FROM (
            SELECT FROM unnest(CAST(:dataset_ids AS text[])) AS of(dataset_id)
            JOIN chunks c ON c.dataset_id = of.dataset_id AND c.tenant_id = :tenant
              AND c.lexemes @@ CAST(t.query AS tsquery) LIMIT :most
        ) found) AS frequency
    FROM unnest(CAST(:lexemes AS text[]), CAST(:queries AS text[])) AS t(lexeme, query)
""")

# Ids are hashes, so the first ones in their order are a sample like any other, and the same one each time.
SAMPLE = Statement("""
    SELECT lexeme, count(*) AS found, max(size) AS size FROM (
        SELECT unnest(tsvector_to_array(c.lexemes)) AS lexeme, count(*) OVER () AS size FROM (
            SELECT c.lexemes FROM chunks c WHERE c.tenant_id = :tenant AND c.dataset_id = :dataset_id
            ORDER BY c.id LIMIT :most
        ) c
    ) sampled GROUP BY lexeme HAVING count(*) >= :least
""")

CUSTOM_PLANS = "SET LOCAL plan_cache_mode = force_custom_plan"
"""Setting for a unit that searches: one plan for all datasets is wrong for most."""

# Left to itself the planner, which knows little of words, may read a whole dataset to find `most_each` chunks with one.
# Without plain index scans the text index is what is left to it.
BY_WORDS = f"{CUSTOM_PLANS}; SET LOCAL enable_indexscan = off"
"""Settings for `holding`."""

ONE_BY_ONE = f"{CUSTOM_PLANS}; SET LOCAL enable_indexscan = on"
"""Settings for `near_exact`."""

_FIELDS = "CAST('{" + ", ".join(map(str, FIELD_WEIGHTS)) + "}' AS float4[])"
_CONTENT_SQUARED = FIELD_WEIGHTS[1] ** 2
_LENGTH = (
    f"sqrt(CAST({LENGTH_BASE * _CONTENT_SQUARED} AS float8) "
    f"+ CAST({(1 - LENGTH_BASE) * _CONTENT_SQUARED / USUAL_LENGTH} AS float8) * length(u.lexemes))"
)

# An array has its members unpacked: what is taken out of it is read from the table once, not once for every word.
# `ts_rank` of one word is 0.61 for its first place and nears 1 with more; it is set against the length of the chunk.
_WORDS = f"""
    CROSS JOIN LATERAL (SELECT c.packed[1] AS lexemes OFFSET 0) u
    CROSS JOIN LATERAL (
        SELECT array_agg(q.number) AS words, array_agg(least(1, ts_rank({_FIELDS}, u.lexemes, q.query) / {_LENGTH}))
            AS shares
        FROM unnest(CAST(:queries AS tsquery[])) WITH ORDINALITY AS q(query, number) WHERE u.lexemes @@ q.query
    ) t
"""  # noqa: S608 (constants)

_DISTANCE = "c.embedding <=> CAST(:vector AS vector)"
_COSINE = f"CASE WHEN c.dimensions = :dimensions THEN 1 - ({_DISTANCE}) END"

MEASURED = Statement(f"""
    SELECT c.document_id, c.id, c.dataset_id, c.document_name, NULLIF(c.cosine, 'NaN') AS cosine,
        COALESCE(t.words, '{{}}') AS words, COALESCE(t.shares, '{{}}') AS shares
    FROM (
        SELECT c.document_id, c.id, c.dataset_id, d.name AS document_name, {_COSINE} AS cosine,
            ARRAY[c.lexemes] AS packed
        FROM unnest(CAST(:document_ids AS text[]), CAST(:ids AS text[])) AS wanted(document_id, id)
        JOIN chunks c ON c.tenant_id = :tenant AND c.document_id = wanted.document_id AND c.id = wanted.id
            AND c.is_available
        JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id AND d.is_enabled
        OFFSET 0
    ) c {_WORDS}
""")  # noqa: S608 (constants)

# The planner takes a dataset for smaller than it is, as the conditions say twice where it lies, and would sort all of
# it: so sorting is made dear, and the index is left.
_TUNED = "{}; SET LOCAL enable_sort = off; SET LOCAL hnsw.ef_search = {:d}"
_ITERATIVE = "SET LOCAL hnsw.iterative_scan = relaxed_order"
VERSION = Statement("SELECT extversion FROM pg_extension WHERE extname = 'vector'")

BODIES = Statement("""
    SELECT c.id, c.document_id, c.content, c.important_keywords, c.questions, c.positions, c.image_id, c.doc_type,
        d.meta_fields
    FROM unnest(CAST(:document_ids AS text[]), CAST(:ids AS text[])) AS wanted(document_id, id)
    JOIN chunks c ON c.tenant_id = :tenant AND c.document_id = wanted.document_id AND c.id = wanted.id
    JOIN documents d ON d.tenant_id = c.tenant_id AND d.id = c.document_id
""")

METADATA = Statement("""
    SELECT id, meta_fields FROM documents
    WHERE tenant_id = :tenant AND dataset_id = ANY(CAST(:dataset_ids AS text[])) AND meta_fields <> '{}' AND is_enabled
""")

OWNED_DOCUMENTS = Statement("""
    SELECT id FROM documents WHERE tenant_id = :tenant AND dataset_id = ANY(CAST(:dataset_ids AS text[]))
      AND id = ANY(CAST(:document_ids AS text[]))
""")


def near_settings(*, ef_search: int, is_iterative: bool) -> str:
    """Return the settings for `near`."""
    tuned = _TUNED.format(ONE_BY_ONE, ef_search)
    return f"{tuned}; {_ITERATIVE}" if is_iterative else tuned


@cache
def small(datasets: int) -> Statement:
    """Return the statement that finds and measures in one: all that holds a word, and what is near beside it.

    A chunk with a word is read once for its vector and its words together.
    """
    in_scope = f"{_IN_DOCUMENTS} AND c.document_id NOT IN (SELECT id FROM off)"  # noqa: S608 (a constant)
    held = _arms(
        f"SELECT c.document_id, c.id, c.dataset_id, {_COSINE} AS cosine, ARRAY[c.lexemes] AS packed FROM chunks c",  # noqa: S608 (constants)
        f"{in_scope} AND c.lexemes @@ CAST(:query AS tsquery) OFFSET 0",
        datasets,
    )
    near = _arms(
        f"SELECT c.document_id, c.id, c.dataset_id, {_DISTANCE} AS distance FROM chunks c",  # noqa: S608 (constants)
        f"{in_scope} AND c.dimensions = :dimensions OFFSET 0",
        datasets,
    )
    return Statement(f"""
        WITH off AS MATERIALIZED ({_OFF}), held AS MATERIALIZED (
            SELECT c.document_id, c.id, c.dataset_id, c.cosine, t.words, t.shares FROM ({held}) c {_WORDS}
        ), near AS MATERIALIZED (
            SELECT * FROM ({near}) n ORDER BY distance LIMIT :most
        )
        SELECT c.document_id, c.id, c.dataset_id, d.name AS document_name, NULLIF(c.cosine, 'NaN') AS cosine,
            c.words, c.shares
        FROM (
            SELECT * FROM held
            UNION ALL SELECT n.document_id, n.id, n.dataset_id, 1 - n.distance, '{{}}', '{{}}'
            FROM near n WHERE NOT EXISTS (SELECT FROM held h WHERE h.document_id = n.document_id AND h.id = n.id)
        ) c JOIN documents d ON d.tenant_id = :tenant AND d.id = c.document_id
    """)  # noqa: S608 (constants)


@cache
def holding(datasets: int) -> Statement:
    """Return the statement that finds chunks by words: one arm for each dataset, or one for all where they are many.

    Whatever is found of a word is weighed by how many chunks hold it, counted as far as was looked.
    """
    arms = _arms(
        "SELECT c.document_id, c.id FROM chunks c",
        f"{_IN_SCOPE} AND c.lexemes @@ CAST(t.query AS tsquery) LIMIT :most_each",
        datasets,
    )
    return Statement(f"""
        WITH held AS MATERIALIZED (
            SELECT t.n, t.factor, c.document_id, c.id
            FROM unnest(CAST(:queries AS text[]), CAST(:factors AS float8[])) WITH ORDINALITY AS t(query, factor, n)
            CROSS JOIN LATERAL (SELECT * FROM ({arms}) a LIMIT :most_each) c
        ), terms AS MATERIALIZED (
            SELECT n, count(*) AS found, max(factor) * log(10 + greatest(0.5, CAST(:chunks AS float8) - count(*) + 0.5)
                / (count(*) + 0.5)) AS weight
            FROM held GROUP BY n
        )
        SELECT h.document_id, h.id, (SELECT array_agg(ARRAY[n, found]) FROM terms) AS found
        FROM held h JOIN terms USING (n) GROUP BY h.document_id, h.id
        ORDER BY sum(terms.weight) DESC, h.id LIMIT :most
    """)  # noqa: S608 (constants)


@cache
def near_exact(datasets: int) -> Statement:
    """Return the statement that compares every vector of the question's dimension."""
    arms = _arms(
        f"SELECT c.document_id, c.id, {_DISTANCE} AS distance FROM chunks c",  # noqa: S608 (constants)
        f"{_IN_SCOPE} AND c.dimensions = :dimensions ORDER BY {_DISTANCE} LIMIT :most",
        datasets,
    )
    return Statement(f"SELECT document_id, id FROM ({arms}) n ORDER BY distance LIMIT :most")  # noqa: S608 (constants)


@cache
def near(dimensions: int, datasets: int) -> Statement:
    """Return the statement over the vector indexes: one arm for each dataset, or for each bucket if those are fewer.

    The indexes are over a cast and partial: length and bucket have to stand in the statement.
    """
    size = int(dimensions)
    distance = f"c.embedding::halfvec({size}) <=> CAST(:vector AS halfvec({size}))"
    if datasets < VECTOR_BUCKETS:
        arms = [
            f"c.dataset_id = {one} AND {_IN_SCOPE} AND {bucket_of('c.dataset_id')} = {bucket_of(one)}"
            for one in _each(datasets)
        ]
    else:
        arms = [f"{_SEARCHED} AND {bucket_of('c.dataset_id')} = {bucket}" for bucket in range(VECTOR_BUCKETS)]
    each = " UNION ALL ".join(
        f"(SELECT c.document_id, c.id, {distance} AS distance FROM chunks c "  # noqa: S608 (constants and numbers)
        f"WHERE {arm} AND c.dimensions = {size} ORDER BY {distance} LIMIT :most)"
        for arm in arms
    )
    return Statement(f"SELECT document_id, id FROM ({each}) n ORDER BY distance LIMIT :most")  # noqa: S608 (as above)


def _arms(select: str, where: str, datasets: int) -> str:
    """Return `select` once for each dataset, put together; or once for all of them where they are many."""
    scopes = [f"c.dataset_id = {one}" for one in _each(datasets)]
    if datasets >= _ARMS:
        scopes = ["c.dataset_id = ANY(CAST(:dataset_ids AS text[]))"]
    return " UNION ALL ".join(f"({select} WHERE {scope} AND {where})" for scope in scopes)


def _each(datasets: int) -> list[str]:
    return [f"(CAST(:dataset_ids AS text[]))[{number}]" for number in range(1, datasets + 1)]
