"""Fixtures of tests/searches/world.py, found by name."""

from tests.pg import fresh_database, migrate, postgres_server, template_database
from tests.searches.world import api, page, pets, rival, world

__all__ = [
    "api",
    "fresh_database",
    "migrate",
    "page",
    "pets",
    "postgres_server",
    "rival",
    "template_database",
    "world",
]
