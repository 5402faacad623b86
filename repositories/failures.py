"""What a unit of work raises when Postgres is away, or refuses what it was sent."""

from asyncpg import InterfaceError, PostgresError
from sqlalchemy.exc import SQLAlchemyError

from app.domain.errors import Unavailable

DRIVER_FAILURES = (PostgresError, InterfaceError, OSError, TimeoutError)
"""What the driver raises, and whoever waits for it with a deadline."""

DATABASE_FAILURES = (SQLAlchemyError, *DRIVER_FAILURES, Unavailable)
"""Some statements go through SQLAlchemy and some straight to the driver (`statements.py`): each raises its own."""
