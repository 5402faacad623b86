"""The whole service on a socket."""

from tests.service_fixtures import chat, client, tenant, upstream, upstream_process
from tests.v1.raw import service

__all__ = ["chat", "client", "service", "tenant", "upstream", "upstream_process"]  # fixtures, found by name
