"""Rows of the ledger name the end user."""

from alembic import op

from migrations.usage_functions import ADD_USAGE_AS_BEFORE, ADD_USAGE_OF_USERS

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '4s'")
    op.execute("ALTER TABLE usage_ledger ADD COLUMN user_id TEXT")
    op.execute(ADD_USAGE_OF_USERS)


def downgrade() -> None:
    op.execute(ADD_USAGE_AS_BEFORE)
    op.execute("ALTER TABLE usage_ledger DROP COLUMN user_id")
