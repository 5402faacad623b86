"""Tables of datasets, documents, their outline and chunks."""

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.metadata import Lexemes, Moment, Vector, metadata, tenant_column

datasets = Table(
    "datasets",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("name", Text, nullable=False),
    Column("avatar", Text),
    Column("description", Text),
    Column("language", Text, nullable=False, server_default="English"),
    Column("embedding_model", Text, nullable=False),  # name@provider
    Column("permission", Text, nullable=False, server_default="me"),
    Column("chunk_method", Text, nullable=False, server_default="naive"),
    Column("parser_config", JSONB, nullable=False),
    Column("pagerank", Integer, nullable=False, server_default="0"),
    Column("document_count", Integer, nullable=False, server_default="0"),
    Column("chunk_count", Integer, nullable=False, server_default="0"),
    Column("token_count", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("updated_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("deleted_at", Moment),  # gone for everybody but the job that removes what it held
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index("uq_datasets_name", "tenant_id", text("lower(name)"), unique=True),
)

documents = Table(
    "documents",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("dataset_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("blob_key", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("suffix", Text, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("source_type", Text, nullable=False, server_default="local"),
    Column("thumbnail", Text, nullable=False, server_default=""),
    Column("chunk_method", Text, nullable=False),
    Column("parser_config", JSONB, nullable=False),
    Column("meta_fields", JSONB, nullable=False, server_default=text("'{}'")),
    Column("is_enabled", Boolean, nullable=False, server_default=text("true")),
    Column("run", Text, nullable=False, server_default="UNSTART"),
    Column("progress", Double, nullable=False, server_default="0"),
    Column("progress_msg", Text, nullable=False, server_default=""),
    Column("process_begin_at", Moment),
    Column("process_duration_s", Double, nullable=False, server_default="0"),
    Column("chunk_count", Integer, nullable=False, server_default="0"),
    Column("token_count", BigInteger, nullable=False, server_default="0"),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("updated_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("toc", JSONB),  # [{level, title, chunk_ids}] where the parser config asked for it
    ForeignKeyConstraint(["tenant_id", "dataset_id"], ["datasets.tenant_id", "datasets.id"], ondelete="CASCADE"),
    Index("ix_documents_dataset", "tenant_id", "dataset_id", "created_at"),
    Index("ix_documents_disabled", "tenant_id", "dataset_id", postgresql_where=text("NOT is_enabled")),
    Index("uq_documents_name", "tenant_id", "dataset_id", text("lower(name)"), unique=True),
)

sections = Table(
    "sections",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("document_id", Text, nullable=False),
    Column("position", Integer, nullable=False),  # order in the document, from 0
    Column("level", SmallInteger, nullable=False),
    Column("title", Text, nullable=False),
    Column("path", ARRAY(Text), nullable=False),  # titles from the root, own title last
    Column("parent_id", Text),
    Column("content", Text, nullable=False),
    ForeignKeyConstraint(["tenant_id", "document_id"], ["documents.tenant_id", "documents.id"], ondelete="CASCADE"),
    Index("ix_sections_document", "tenant_id", "document_id", "position"),
)

chunks = Table(
    "chunks",
    metadata,
    tenant_column(),
    Column("document_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),  # xxh64 of content and document id (knowledge.md 0.5)
    Column("dataset_id", Text, nullable=False),
    Column("section_id", Text),
    Column("ordinal", Integer, nullable=False),  # place in the document from 0; -1: came through the API, without title
    Column("content", Text, nullable=False),
    Column("lexemes", Lexemes, nullable=False),
    Column("embedding", Vector, nullable=False),
    Column("dimensions", SmallInteger, nullable=False),
    Column("important_keywords", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("questions", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("positions", JSONB, nullable=False, server_default=text("'[]'")),
    Column("image_id", Text, nullable=False, server_default=""),
    Column("doc_type", Text, nullable=False, server_default=""),
    Column("is_available", Boolean, nullable=False, server_default=text("true")),
    Column("token_count", Integer, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("tags", ARRAY(Text), nullable=False, server_default=text("'{}'")),  # of a row of a tag dataset
    Column("tag_weights", JSONB, nullable=False, server_default=text("'{}'")),  # tag -> score
    Column("cells", JSONB),  # the typed cells of a table row
    Column("layer", SmallInteger, nullable=False, server_default="0"),  # 0 the document's text, from 1 summaries
    Column(
        "additions", Integer, nullable=False, server_default="1"
    ),  # how often it was put in: counters are sums of it
    ForeignKeyConstraint(["tenant_id", "document_id"], ["documents.tenant_id", "documents.id"], ondelete="CASCADE"),
    Index("ix_chunks_dataset", "tenant_id", "dataset_id", "id"),
    Index("ix_chunks_lexemes", "dataset_id", "lexemes", postgresql_using="gin", postgresql_with={"fastupdate": "off"}),
    Index("ix_chunks_section", "tenant_id", "section_id", postgresql_where=text("section_id IS NOT NULL")),
)
