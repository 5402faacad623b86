"""Tables of the knowledge graph of a dataset (knowledge.md 4.7, 5.11)."""

from sqlalchemy import (
    ARRAY,
    Column,
    Double,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from app.db.metadata import Moment, Vector, metadata, tenant_column

graph_documents = Table(
    "graph_documents",
    metadata,
    tenant_column(),
    Column("document_id", Text, primary_key=True),
    Column("dataset_id", Text, nullable=False),
    Column("subgraph", JSONB, nullable=False),  # {entities: […], relations: […]}: the notes of this document alone
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["tenant_id", "document_id"], ["documents.tenant_id", "documents.id"], ondelete="CASCADE"),
    Index("ix_graph_documents_dataset", "tenant_id", "dataset_id"),
)

graph_entities = Table(
    "graph_entities",
    metadata,
    tenant_column(),
    Column("dataset_id", Text, primary_key=True),
    Column("name", Text, primary_key=True),
    Column("type", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("pagerank", Double, nullable=False, server_default="0"),
    Column("degree", Integer, nullable=False, server_default="0"),
    Column("aliases", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("document_ids", ARRAY(Text), nullable=False),
    Column("embedding", Vector, nullable=False),
    Column("dimensions", SmallInteger, nullable=False),
    Column("vector_of", LargeBinary, nullable=False),  # a hash of model and text: whether the vector is still right
    ForeignKeyConstraint(["tenant_id", "dataset_id"], ["datasets.tenant_id", "datasets.id"], ondelete="CASCADE"),
    Index("ix_graph_entities_rank", "tenant_id", "dataset_id", text("pagerank DESC")),
)

graph_relations = Table(
    "graph_relations",
    metadata,
    tenant_column(),
    Column("dataset_id", Text, primary_key=True),
    Column("source", Text, primary_key=True),
    Column("target", Text, primary_key=True),
    Column("description", Text, nullable=False),
    Column("keywords", ARRAY(Text), nullable=False, server_default=text("'{}'")),
    Column("weight", Double, nullable=False),
    Column("document_ids", ARRAY(Text), nullable=False),
    Column("embedding", Vector, nullable=False),
    Column("dimensions", SmallInteger, nullable=False),
    Column("vector_of", LargeBinary, nullable=False),
    ForeignKeyConstraint(["tenant_id", "dataset_id"], ["datasets.tenant_id", "datasets.id"], ondelete="CASCADE"),
)

graph_communities = Table(
    "graph_communities",
    metadata,
    tenant_column(),
    Column("dataset_id", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("title", Text, nullable=False),
    Column("report", Text, nullable=False),
    Column("findings", JSONB, nullable=False, server_default=text("'[]'")),
    Column("weight", Double, nullable=False),
    Column("entities", ARRAY(Text), nullable=False),
    ForeignKeyConstraint(["tenant_id", "dataset_id"], ["datasets.tenant_id", "datasets.id"], ondelete="CASCADE"),
)
