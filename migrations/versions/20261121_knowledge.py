"""The whole knowledge API: files, graphs, tags, summaries, progress of jobs, blobs that nobody names."""

from alembic import context, op

from app.db.walls import wall_statements

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE model_answers (
    tenant_id TEXT NOT NULL,
    key BYTEA NOT NULL,
    answer TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_model_answers PRIMARY KEY (tenant_id, key),
    CONSTRAINT fk_model_answers_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE
);
CREATE TABLE stray_blobs (
    tenant_id TEXT NOT NULL,
    key TEXT NOT NULL,
    due_at TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_stray_blobs PRIMARY KEY (tenant_id, key)
);
CREATE INDEX ix_stray_blobs_due ON stray_blobs (due_at);
CREATE TABLE files (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    parent_id TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    size_bytes BIGINT DEFAULT '0' NOT NULL,
    blob_key TEXT,
    source_type TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_files PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_files_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX uq_files_name ON files (tenant_id, parent_id, lower(name));
CREATE TABLE file_links (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    file_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_file_links PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_file_links_files FOREIGN KEY(tenant_id, file_id) REFERENCES files (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT fk_file_links_documents FOREIGN KEY(tenant_id, document_id)
        REFERENCES documents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_file_links_file ON file_links (tenant_id, file_id);
CREATE UNIQUE INDEX uq_file_links_document ON file_links (tenant_id, document_id);
CREATE TABLE graph_documents (
    tenant_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    subgraph JSONB NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_graph_documents PRIMARY KEY (tenant_id, document_id),
    CONSTRAINT fk_graph_documents_documents FOREIGN KEY(tenant_id, document_id)
        REFERENCES documents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_graph_documents_dataset ON graph_documents (tenant_id, dataset_id);
CREATE TABLE graph_entities (
    tenant_id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    description TEXT NOT NULL,
    pagerank DOUBLE PRECISION DEFAULT '0' NOT NULL,
    degree INTEGER DEFAULT '0' NOT NULL,
    aliases TEXT[] DEFAULT '{}' NOT NULL,
    document_ids TEXT[] NOT NULL,
    embedding vector NOT NULL,
    dimensions SMALLINT NOT NULL,
    vector_of BYTEA NOT NULL,
    CONSTRAINT pk_graph_entities PRIMARY KEY (tenant_id, dataset_id, name),
    CONSTRAINT fk_graph_entities_datasets FOREIGN KEY(tenant_id, dataset_id)
        REFERENCES datasets (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_graph_entities_rank ON graph_entities (tenant_id, dataset_id, pagerank DESC);
CREATE TABLE graph_relations (
    tenant_id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    source TEXT NOT NULL,
    target TEXT NOT NULL,
    description TEXT NOT NULL,
    keywords TEXT[] DEFAULT '{}' NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    document_ids TEXT[] NOT NULL,
    embedding vector NOT NULL,
    dimensions SMALLINT NOT NULL,
    vector_of BYTEA NOT NULL,
    CONSTRAINT pk_graph_relations PRIMARY KEY (tenant_id, dataset_id, source, target),
    CONSTRAINT fk_graph_relations_datasets FOREIGN KEY(tenant_id, dataset_id)
        REFERENCES datasets (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE graph_communities (
    tenant_id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    id TEXT NOT NULL,
    title TEXT NOT NULL,
    report TEXT NOT NULL,
    findings JSONB DEFAULT '[]' NOT NULL,
    weight DOUBLE PRECISION NOT NULL,
    entities TEXT[] NOT NULL,
    CONSTRAINT pk_graph_communities PRIMARY KEY (tenant_id, dataset_id, id),
    CONSTRAINT fk_graph_communities_datasets FOREIGN KEY(tenant_id, dataset_id)
        REFERENCES datasets (tenant_id, id) ON DELETE CASCADE
)
"""

COLUMNS = {
    "datasets": ("deleted_at TIMESTAMP WITH TIME ZONE",),
    "documents": ("toc JSONB",),
    "chunks": (
        "tags TEXT[] DEFAULT '{}' NOT NULL",
        "tag_weights JSONB DEFAULT '{}' NOT NULL",
        "cells JSONB",
        "layer SMALLINT DEFAULT '0' NOT NULL",
        "additions INTEGER DEFAULT '1' NOT NULL",
    ),
    "jobs": (
        "progress DOUBLE PRECISION DEFAULT '0' NOT NULL",
        "progress_msg TEXT DEFAULT '' NOT NULL",
        "began_at TIMESTAMP WITH TIME ZONE",
    ),
}


# Half-precision vectors halve an index and lose nothing that ranks; measures are taken from the whole ones.
VECTOR_SIZES = (384, 768, 1024, 1536, 3072)

# Vectors stay in the row, where comparing them one by one finds them; words beside it, but unpacked; the ids order a
# sample of a dataset; the list of words not yet in the text index would be read by every search that runs while chunks
# come in.
SEARCH_INDEXES = """
DROP INDEX ix_chunks_embedding_384;
DROP INDEX ix_chunks_dataset;
DROP INDEX ix_chunks_lexemes;
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN;
ALTER TABLE chunks ALTER COLUMN lexemes SET STORAGE EXTERNAL;
CREATE INDEX ix_chunks_dataset ON chunks (tenant_id, dataset_id, id);
CREATE INDEX ix_chunks_lexemes ON chunks USING gin (dataset_id, lexemes) WITH (fastupdate = off);
CREATE INDEX ix_documents_disabled ON documents (tenant_id, dataset_id) WHERE NOT is_enabled
"""

FORMER_INDEXES = """
DROP INDEX ix_documents_disabled;
DROP INDEX ix_chunks_lexemes;
DROP INDEX ix_chunks_dataset;
ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE EXTERNAL;
ALTER TABLE chunks ALTER COLUMN lexemes SET STORAGE EXTENDED;
CREATE INDEX ix_chunks_dataset ON chunks (tenant_id, dataset_id);
CREATE INDEX ix_chunks_lexemes ON chunks USING gin (dataset_id, lexemes);
CREATE INDEX ix_chunks_embedding_384 ON chunks
    USING hnsw ((embedding::vector(384)) vector_cosine_ops) WHERE dimensions = 384
"""


def _index_vectors() -> None:
    for size in VECTOR_SIZES:
        op.execute(
            f"CREATE INDEX ix_chunks_embedding_{size} ON chunks "
            f"USING hnsw ((embedding::halfvec({size})) halfvec_cosine_ops) WHERE dimensions = {size}"
        )


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    op.execute("SET LOCAL statement_timeout = 0")  # indexes of what is there may take minutes
    for statement in SEARCH_INDEXES.split(";\n"):
        op.execute(statement)
    op.execute("CREATE INDEX ix_jobs_subject ON jobs (tenant_id, subject_id, kind, created_at)")
    _index_vectors()
    app_role = context.config.attributes["app_role"]
    for table in _tables():
        op.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO "{app_role}"')
        for statement in wall_statements(table):
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP INDEX ix_jobs_subject")
    for size in VECTOR_SIZES:
        op.execute(f"DROP INDEX ix_chunks_embedding_{size}")
    for statement in FORMER_INDEXES.split(";\n"):
        op.execute(statement)
    for table in reversed(_tables()):
        op.execute(f"DROP TABLE {table}")
    for table, columns in COLUMNS.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column.split()[0]}")


def _tables() -> list[str]:
    return [line.split()[2] for line in TABLES.splitlines() if line.startswith("CREATE TABLE")]
