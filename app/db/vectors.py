"""The indexes over vectors: one for each usual length and each of eight buckets of datasets.

A search knows its datasets, so it asks the index of their bucket alone: in one index for all, a dataset of some percent
of the chunks would have most of what the index finds thrown away. Half precision halves an index and loses nothing that
ranks; measures are taken from the whole vectors.
"""

VECTOR_SIZES = (384, 768, 1024, 1536, 3072)
VECTOR_BUCKETS = 8


def bucket_of(dataset_id: str) -> str:
    """Return the SQL for the bucket of the dataset that the expression `dataset_id` names."""
    return f"(hashtext({dataset_id}) & {VECTOR_BUCKETS - 1})"


def index_name(size: int, bucket: int) -> str:
    """Name the index of a bucket."""
    return f"ix_chunks_embedding_{size}_{bucket}"


def index_statements(size: int) -> list[str]:
    """Return the statements that make the indexes of vectors of `size` numbers.

    24 links and 128 candidates a chunk: with pgvector's 16 and 64, one in eight of the ten nearest was missed at a
    million chunks (docs/scale.md).
    """
    return [
        f"CREATE INDEX {index_name(size, bucket)} ON chunks "
        f"USING hnsw ((embedding::halfvec({size})) halfvec_cosine_ops) WITH (m = 24, ef_construction = 128) "
        f"WHERE dimensions = {size} AND {bucket_of('dataset_id')} = {bucket}"
        for bucket in range(VECTOR_BUCKETS)
    ]
