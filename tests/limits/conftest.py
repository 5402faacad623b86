"""Fixtures of the whole service, for calls that are counted."""

from tests.service_fixtures import service, tenant, upstream, upstream_process

__all__ = ["service", "tenant", "upstream", "upstream_process"]  # fixtures, found by name
