"""Fixtures of tests/service_fixtures.py and tests/v1/raw.py, found by name."""

from tests.pg import fresh_database, migrate, postgres_server, template_database
from tests.service_fixtures import chat, client, tenant, upstream, upstream_process
from tests.v1.raw import service

__all__ = [
    "chat",
    "client",
    "fresh_database",
    "migrate",
    "postgres_server",
    "service",
    "template_database",
    "tenant",
    "upstream",
    "upstream_process",
]
