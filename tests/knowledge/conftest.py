"""Fixtures of tests/knowledge/world.py, working.py and searching.py, found by name."""

from tests.knowledge.searching import as_22, fixture
from tests.knowledge.working import gated
from tests.knowledge.world import api, rival, world
from tests.pg import fresh_database, migrate, postgres_server, template_database

__all__ = [
    "api",
    "as_22",
    "fixture",
    "fresh_database",
    "gated",
    "migrate",
    "postgres_server",
    "rival",
    "template_database",
    "world",
]
