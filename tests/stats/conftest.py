"""Fixtures of tests/chats/world.py, found by name."""

from tests.chats.world import api, make_dataset, rival, world
from tests.pg import fresh_database, migrate, postgres_server, template_database

__all__ = [
    "api",
    "fresh_database",
    "make_dataset",
    "migrate",
    "postgres_server",
    "rival",
    "template_database",
    "world",
]
