"""Alembic's entry: runs the revisions over a connection that `migrations.run` hands in."""

from alembic import context

from app.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
