"""Fixtures of tests/knowledge/world.py, found by name."""

from tests.knowledge.world import api, rival, world
from tests.pg import fresh_database, migrate, postgres_server, template_database

__all__ = ["api", "fresh_database", "migrate", "postgres_server", "rival", "template_database", "world"]
