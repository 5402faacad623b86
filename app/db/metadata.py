"""The one MetaData, the column words tables share, and the list of walls (row-level security)."""

from sqlalchemy import TIMESTAMP, Column, MetaData, Text
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.types import UserDefinedType

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(referred_table_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)

Moment = TIMESTAMP(timezone=True)
Lexemes = TSVECTOR


class Vector(UserDefinedType[str]):
    """A pgvector column of any dimension; values travel as real arrays and are cast in SQL."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """Name the type as Postgres does."""
        return "vector"


def tenant_column() -> Column[str]:
    """The column every tenant table leads its primary key with (design.md 1.4)."""
    return Column("tenant_id", Text, primary_key=True)
