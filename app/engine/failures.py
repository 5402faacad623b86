"""What a unit of work raises when Postgres is away, or refuses what it was sent."""

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError

from app.domain.errors import Unavailable

DATABASE_FAILURES = (SQLAlchemyError, PostgresError, InterfaceError, OSError, TimeoutError, Unavailable)
"""Some statements go through SQLAlchemy and some straight to the driver (`statements.py`): each raises its own."""
