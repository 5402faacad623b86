"""First schema: tenants and keys, knowledge, conversations, turns, jobs, ledger; every tenant table walled."""

from alembic import context, op

from app.db.walls import DISPATCH_ROLE, wall_statements
from migrations.functions import FIRST_FUNCTIONS, FUNCTION_NAMES

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

TABLES = """
CREATE TABLE idempotency (
    tenant_id TEXT NOT NULL,
    api_key_id TEXT NOT NULL,
    key TEXT NOT NULL,
    route TEXT NOT NULL,
    body_hash BYTEA NOT NULL,
    turn_id TEXT,
    status INTEGER,
    body BYTEA,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_idempotency PRIMARY KEY (tenant_id, api_key_id, key)
);
CREATE TABLE processes (
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE NOT NULL,
    CONSTRAINT pk_processes PRIMARY KEY (id)
);
CREATE TABLE tenants (
    tenant_id TEXT NOT NULL,
    name TEXT NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    CONSTRAINT pk_tenants PRIMARY KEY (tenant_id)
);
CREATE TABLE usage_daily (
    tenant_id TEXT NOT NULL,
    day DATE NOT NULL,
    api_key_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    calls BIGINT NOT NULL,
    prompt_tokens BIGINT NOT NULL,
    completion_tokens BIGINT NOT NULL,
    duration_ms DOUBLE PRECISION NOT NULL,
    CONSTRAINT pk_usage_daily PRIMARY KEY (tenant_id, day, api_key_id, kind, model, provider)
);
CREATE TABLE usage_ledger (
    tenant_id TEXT NOT NULL,
    id BIGINT GENERATED ALWAYS AS IDENTITY,
    turn_id TEXT,
    session_id TEXT,
    chat_id TEXT,
    api_key_id TEXT,
    kind TEXT NOT NULL,
    purpose TEXT NOT NULL,
    model TEXT NOT NULL,
    provider TEXT NOT NULL,
    attempt SMALLINT DEFAULT '1' NOT NULL,
    prompt_tokens INTEGER NOT NULL,
    completion_tokens INTEGER NOT NULL,
    reasoning_tokens INTEGER NOT NULL,
    cached_tokens INTEGER NOT NULL,
    is_estimated BOOLEAN NOT NULL,
    duration_ms DOUBLE PRECISION NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_usage_ledger PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ix_usage_ledger_created ON usage_ledger (tenant_id, created_at);
CREATE INDEX ix_usage_ledger_turn ON usage_ledger (tenant_id, turn_id);
CREATE TABLE api_keys (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT DEFAULT '' NOT NULL,
    prefix TEXT NOT NULL,
    last4 TEXT NOT NULL,
    hash BYTEA NOT NULL,
    scopes TEXT[] NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT now() NOT NULL,
    expires_at TIMESTAMP WITH TIME ZONE,
    revoked_at TIMESTAMP WITH TIME ZONE,
    last_used_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_api_keys PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_api_keys_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE,
    CONSTRAINT uq_api_keys_hash UNIQUE (hash)
);
CREATE INDEX ix_api_keys_tenant_id_created_at ON api_keys (tenant_id, created_at);
CREATE TABLE chats (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    description TEXT DEFAULT '' NOT NULL,
    avatar TEXT DEFAULT '' NOT NULL,
    language TEXT DEFAULT 'English' NOT NULL,
    do_refer TEXT DEFAULT '1' NOT NULL,
    llm_id TEXT,
    llm_setting JSONB NOT NULL,
    prompt_config JSONB NOT NULL,
    meta_data_filter JSONB DEFAULT '{}' NOT NULL,
    similarity_threshold DOUBLE PRECISION NOT NULL,
    vector_similarity_weight DOUBLE PRECISION NOT NULL,
    top_n INTEGER NOT NULL,
    top_k INTEGER NOT NULL,
    rerank_id TEXT DEFAULT '' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_chats PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_chats_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE
);
CREATE INDEX ix_chats_created ON chats (tenant_id, created_at, id);
CREATE UNIQUE INDEX uq_chats_name ON chats (tenant_id, lower(name)) WHERE deleted_at IS NULL;
CREATE TABLE datasets (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    name TEXT NOT NULL,
    avatar TEXT,
    description TEXT,
    language TEXT DEFAULT 'English' NOT NULL,
    embedding_model TEXT NOT NULL,
    permission TEXT DEFAULT 'me' NOT NULL,
    chunk_method TEXT DEFAULT 'naive' NOT NULL,
    parser_config JSONB NOT NULL,
    pagerank INTEGER DEFAULT '0' NOT NULL,
    document_count INTEGER DEFAULT '0' NOT NULL,
    chunk_count INTEGER DEFAULT '0' NOT NULL,
    token_count BIGINT DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_datasets PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_datasets_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX uq_datasets_name ON datasets (tenant_id, lower(name));
CREATE TABLE jobs (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    subject_id TEXT NOT NULL,
    payload JSONB DEFAULT '{}' NOT NULL,
    state TEXT DEFAULT 'queued' NOT NULL,
    priority SMALLINT DEFAULT '0' NOT NULL,
    attempts SMALLINT DEFAULT '0' NOT NULL,
    run_after TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    owner TEXT,
    fence BIGINT DEFAULT '0' NOT NULL,
    lease_until TIMESTAMP WITH TIME ZONE,
    error TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_jobs PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_jobs_tenants FOREIGN KEY(tenant_id) REFERENCES tenants (tenant_id) ON DELETE CASCADE
);
CREATE INDEX ix_jobs_due ON jobs (priority, run_after) WHERE state IN ('queued', 'running');
CREATE UNIQUE INDEX uq_jobs_live ON jobs (tenant_id, kind, subject_id) WHERE state IN ('queued', 'running');
CREATE TABLE chat_datasets (
    tenant_id TEXT NOT NULL,
    chat_id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    CONSTRAINT pk_chat_datasets PRIMARY KEY (tenant_id, chat_id, dataset_id),
    CONSTRAINT fk_chat_datasets_chats FOREIGN KEY(tenant_id, chat_id)
        REFERENCES chats (tenant_id, id) ON DELETE CASCADE,
    CONSTRAINT fk_chat_datasets_datasets FOREIGN KEY(tenant_id, dataset_id)
        REFERENCES datasets (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_chat_datasets_dataset ON chat_datasets (tenant_id, dataset_id);
CREATE TABLE documents (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    name TEXT NOT NULL,
    location TEXT NOT NULL,
    blob_key TEXT NOT NULL,
    type TEXT NOT NULL,
    suffix TEXT NOT NULL,
    size_bytes BIGINT NOT NULL,
    source_type TEXT DEFAULT 'local' NOT NULL,
    thumbnail TEXT DEFAULT '' NOT NULL,
    chunk_method TEXT NOT NULL,
    parser_config JSONB NOT NULL,
    meta_fields JSONB DEFAULT '{}' NOT NULL,
    is_enabled BOOLEAN DEFAULT true NOT NULL,
    run TEXT DEFAULT 'UNSTART' NOT NULL,
    progress DOUBLE PRECISION DEFAULT '0' NOT NULL,
    progress_msg TEXT DEFAULT '' NOT NULL,
    process_begin_at TIMESTAMP WITH TIME ZONE,
    process_duration_s DOUBLE PRECISION DEFAULT '0' NOT NULL,
    chunk_count INTEGER DEFAULT '0' NOT NULL,
    token_count BIGINT DEFAULT '0' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_documents PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_documents_datasets FOREIGN KEY(tenant_id, dataset_id)
        REFERENCES datasets (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_documents_dataset ON documents (tenant_id, dataset_id, created_at);
CREATE UNIQUE INDEX uq_documents_name ON documents (tenant_id, dataset_id, lower(name));
CREATE TABLE sessions (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    chat_id TEXT,
    name TEXT NOT NULL,
    user_id TEXT DEFAULT '' NOT NULL,
    source TEXT,
    variables JSONB DEFAULT '{}' NOT NULL,
    next_position INTEGER DEFAULT '0' NOT NULL,
    round INTEGER DEFAULT '0' NOT NULL,
    tokens BIGINT DEFAULT '0' NOT NULL,
    duration_s DOUBLE PRECISION DEFAULT '0' NOT NULL,
    thumb_up INTEGER DEFAULT '0' NOT NULL,
    last_message_at TIMESTAMP WITH TIME ZONE,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    updated_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    deleted_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_sessions PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_sessions_chats FOREIGN KEY(tenant_id, chat_id) REFERENCES chats (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_sessions_chat ON sessions (tenant_id, chat_id, created_at, id);
CREATE TABLE chunks (
    tenant_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    id TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    section_id TEXT,
    ordinal INTEGER NOT NULL,
    content TEXT NOT NULL,
    lexemes TSVECTOR NOT NULL,
    embedding vector NOT NULL,
    dimensions SMALLINT NOT NULL,
    important_keywords TEXT[] DEFAULT '{}' NOT NULL,
    questions TEXT[] DEFAULT '{}' NOT NULL,
    positions JSONB DEFAULT '[]' NOT NULL,
    image_id TEXT DEFAULT '' NOT NULL,
    doc_type TEXT DEFAULT '' NOT NULL,
    is_available BOOLEAN DEFAULT true NOT NULL,
    token_count INTEGER NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_chunks PRIMARY KEY (tenant_id, document_id, id),
    CONSTRAINT fk_chunks_documents FOREIGN KEY(tenant_id, document_id)
        REFERENCES documents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_chunks_dataset ON chunks (tenant_id, dataset_id);
CREATE INDEX ix_chunks_lexemes ON chunks USING gin (dataset_id, lexemes);
CREATE INDEX ix_chunks_section ON chunks (tenant_id, section_id) WHERE section_id IS NOT NULL;
CREATE TABLE messages (
    tenant_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    role TEXT NOT NULL,
    session_id TEXT,
    position INTEGER NOT NULL,
    content TEXT NOT NULL,
    reasoning TEXT,
    thumbup BOOLEAN,
    feedback TEXT,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_messages PRIMARY KEY (tenant_id, turn_id, role),
    CONSTRAINT fk_messages_sessions FOREIGN KEY(tenant_id, session_id)
        REFERENCES sessions (tenant_id, id) ON DELETE CASCADE
);
CREATE UNIQUE INDEX uq_messages_position ON messages (tenant_id, session_id, position);
CREATE TABLE sections (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    position INTEGER NOT NULL,
    level SMALLINT NOT NULL,
    title TEXT NOT NULL,
    path TEXT[] NOT NULL,
    parent_id TEXT,
    content TEXT NOT NULL,
    CONSTRAINT pk_sections PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_sections_documents FOREIGN KEY(tenant_id, document_id)
        REFERENCES documents (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_sections_document ON sections (tenant_id, document_id, position);
CREATE TABLE turns (
    tenant_id TEXT NOT NULL,
    id TEXT NOT NULL,
    session_id TEXT,
    chat_id TEXT,
    api_key_id TEXT NOT NULL,
    state TEXT NOT NULL,
    owner TEXT NOT NULL,
    fence BIGINT DEFAULT '1' NOT NULL,
    is_stop_requested BOOLEAN DEFAULT false NOT NULL,
    route TEXT NOT NULL,
    body_hash BYTEA NOT NULL,
    request_id TEXT DEFAULT '' NOT NULL,
    delivered_at TIMESTAMP WITH TIME ZONE,
    model TEXT,
    prompt_version TEXT,
    finish_reason TEXT,
    error_kind TEXT,
    error TEXT,
    prompt_tokens INTEGER DEFAULT '0' NOT NULL,
    completion_tokens INTEGER DEFAULT '0' NOT NULL,
    reasoning_tokens INTEGER DEFAULT '0' NOT NULL,
    cached_tokens INTEGER DEFAULT '0' NOT NULL,
    is_estimated BOOLEAN DEFAULT false NOT NULL,
    reference_total INTEGER,
    timings_ms JSONB DEFAULT '{}' NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    ended_at TIMESTAMP WITH TIME ZONE,
    CONSTRAINT pk_turns PRIMARY KEY (tenant_id, id),
    CONSTRAINT fk_turns_sessions FOREIGN KEY(tenant_id, session_id)
        REFERENCES sessions (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_turns_retry ON turns (tenant_id, api_key_id, body_hash, created_at);
CREATE INDEX ix_turns_running ON turns (owner) WHERE state = 'running';
CREATE INDEX ix_turns_session ON turns (tenant_id, session_id) WHERE session_id IS NOT NULL;
CREATE UNIQUE INDEX uq_turns_one_running ON turns (tenant_id, session_id)
        WHERE state = 'running' AND session_id IS NOT NULL;
CREATE TABLE message_references (
    tenant_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    number INTEGER NOT NULL,
    chunk_id TEXT NOT NULL,
    document_id TEXT NOT NULL,
    document_name TEXT NOT NULL,
    dataset_id TEXT NOT NULL,
    content TEXT NOT NULL,
    positions JSONB DEFAULT '[]' NOT NULL,
    image_id TEXT DEFAULT '' NOT NULL,
    url TEXT,
    doc_type TEXT DEFAULT '' NOT NULL,
    similarity DOUBLE PRECISION,
    vector_similarity DOUBLE PRECISION,
    term_similarity DOUBLE PRECISION,
    is_cited BOOLEAN NOT NULL,
    CONSTRAINT pk_message_references PRIMARY KEY (tenant_id, turn_id, number),
    CONSTRAINT fk_message_references_turns FOREIGN KEY(tenant_id, turn_id)
        REFERENCES turns (tenant_id, id) ON DELETE CASCADE
);
CREATE TABLE turn_events (
    tenant_id TEXT NOT NULL,
    turn_id TEXT NOT NULL,
    first_number INTEGER NOT NULL,
    last_number INTEGER NOT NULL,
    payload BYTEA NOT NULL,
    created_at TIMESTAMP WITH TIME ZONE DEFAULT clock_timestamp() NOT NULL,
    CONSTRAINT pk_turn_events PRIMARY KEY (tenant_id, turn_id, first_number),
    CONSTRAINT fk_turn_events_turns FOREIGN KEY(tenant_id, turn_id) REFERENCES turns (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ix_turn_events_created ON turn_events USING brin (created_at)
"""

# Exact search serves small datasets; this index serves large ones of the built-in model's dimension.
VECTOR_INDEX = """
CREATE INDEX ix_chunks_embedding_384 ON chunks
USING hnsw ((embedding::vector(384)) vector_cosine_ops) WHERE dimensions = 384
"""

UNWALLED = ("processes",)  # belongs to the service, not to a tenant


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("SET LOCAL statement_timeout = '60s'")
    for extension in ("vector", "btree_gin"):
        op.execute(f"CREATE EXTENSION IF NOT EXISTS {extension}")
    for statement in TABLES.split(";\n"):
        op.execute(statement)
    op.execute(VECTOR_INDEX)
    app_role = context.config.attributes["app_role"]
    op.execute(f'GRANT USAGE ON SCHEMA public TO "{app_role}", {DISPATCH_ROLE}')
    op.execute(f'GRANT SELECT ON alembic_version TO "{app_role}"')
    for table in _tables():
        op.execute(f'GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO "{app_role}"')
        if table not in UNWALLED:
            for statement in wall_statements(table):
                op.execute(statement)
    op.execute(f"GRANT SELECT ON processes TO {DISPATCH_ROLE}")
    for function in FIRST_FUNCTIONS:
        op.execute(function)


def downgrade() -> None:
    for name in FUNCTION_NAMES:
        op.execute(f"DROP FUNCTION {name}")
    for table in reversed(_tables()):
        op.execute(f"DROP TABLE {table}")


def _tables() -> list[str]:
    return [line.split()[2] for line in TABLES.splitlines() if line.startswith("CREATE TABLE")]
