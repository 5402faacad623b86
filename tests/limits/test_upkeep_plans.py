"""What looks for old rows of all tenants reads the old ones alone, by an index: not every row there is."""

import pytest
from sqlalchemy import TextClause, text

from repositories import limit_dispatch
from repositories.expiry import EXPIRE, Kept
from repositories.unit_of_work import Database


@pytest.mark.parametrize(
    ("statement", "values", "column"),
    [
        (limit_dispatch.IDLE, {"days": 30, "most": 100}, "updated_at"),
        (limit_dispatch.ENDED, {"days": 30, "most": 100}, "deleted_at"),
        (EXPIRE[Kept.EVENTS], {"age_s": 60.0, "most": 100}, "created_at"),
        (EXPIRE[Kept.IDEMPOTENT], {"age_s": 60.0, "most": 100}, "created_at"),
        (EXPIRE[Kept.MODEL_ANSWERS], {"age_s": 60.0, "most": 100}, "created_at"),
        (EXPIRE[Kept.VISITORS], {"age_s": 60.0, "most": 100}, "expires_at"),
        (EXPIRE[Kept.WINDOWS], {"age_s": 60.0, "most": 100}, "window_start"),
    ],
    ids=["idle", "ended", "events", "idempotent", "model-answers", "visitors", "windows"],
)
async def test_old_rows_are_found_by_an_index(
    database: Database, statement: TextClause, values: dict[str, float], column: str
) -> None:
    async with database.dispatch() as dispatch:
        await dispatch._connection.execute(text("SET LOCAL enable_seqscan = off"))
        explained = text(f"EXPLAIN {statement.text}")
        plan = "\n".join((await dispatch._connection.execute(explained, values)).scalars())

    assert f"Index Cond: ({column} < (statement_timestamp()" in plan
