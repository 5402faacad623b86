"""Fixtures of the whole service, for calls that are counted."""

from tests.upstream.fixtures import upstream, upstream_process

__all__ = ["upstream", "upstream_process"]
