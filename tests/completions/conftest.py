"""The whole service on a socket, and an answerer alone with models that do as they are told."""

from tests.service_fixtures import chat, client, service, tenant, upstream, upstream_process

__all__ = ["chat", "client", "service", "tenant", "upstream", "upstream_process"]  # fixtures, found by name
