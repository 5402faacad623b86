"""Tables of the tenant's folder tree and the links between its files and documents (knowledge.md 6)."""

from sqlalchemy import BigInteger, Column, ForeignKeyConstraint, Index, Table, Text, text

from app.db.metadata import Moment, metadata, tenant_column

files = Table(
    "files",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("parent_id", Text, nullable=False),  # the root is its own parent
    Column("name", Text, nullable=False),
    Column("type", Text, nullable=False),  # folder | virtual | pdf | doc | visual | aural | other
    Column("size_bytes", BigInteger, nullable=False, server_default="0"),
    Column("blob_key", Text),  # null for folders
    Column("source_type", Text, nullable=False, server_default=""),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("updated_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["tenant_id"], ["tenants.tenant_id"], ondelete="CASCADE"),
    Index("uq_files_name", "tenant_id", "parent_id", text("lower(name)"), unique=True),
)

file_links = Table(
    "file_links",
    metadata,
    tenant_column(),
    Column("id", Text, primary_key=True),
    Column("file_id", Text, nullable=False),
    Column("document_id", Text, nullable=False),
    Column("created_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    Column("updated_at", Moment, nullable=False, server_default=text("clock_timestamp()")),
    ForeignKeyConstraint(["tenant_id", "file_id"], ["files.tenant_id", "files.id"], ondelete="CASCADE"),
    ForeignKeyConstraint(["tenant_id", "document_id"], ["documents.tenant_id", "documents.id"], ondelete="CASCADE"),
    Index("ix_file_links_file", "tenant_id", "file_id"),
    Index("uq_file_links_document", "tenant_id", "document_id", unique=True),
)
