"""Every route of the app with something in its path, for tests that walk them all."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from routers.embed_cors import PAGE_ROUTES

MACHINES = frozenset(
    {"/livez", "/readyz", "/metrics", "/openapi.json", "/docs", "/v1/system/healthz", "/api/v1/system/healthz"}
)
"""What operations.md 4 leaves open."""

_PARAMETER = re.compile(r"\{[^}]*\}")


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one path, as the OpenAPI page tells it."""

    method: str
    path: str
    told: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def filled(self, value: str = "0" * 32) -> str:
        """Return the path with `value` for every parameter."""
        return _PARAMETER.sub(value, self.path)

    @property
    def has_body(self) -> bool:
        return self.method in ("POST", "PUT", "PATCH", "DELETE")

    @property
    def is_openai(self) -> bool:
        return "openai/" in self.path or (
            f"{self.path}/".startswith("/v1/")
            and not self.path.startswith(
                ("/v1/document/", "/v1/system/", "/v1/search/", "/v1/conversation/", "/v1/api/")
            )
        )

    @property
    def is_union(self) -> bool:
        """Whether refusals have the native envelope and an OpenAI error beside it."""
        return "openai/" in self.path

    @property
    def is_page(self) -> bool:
        """Whether tokens for pages open it, and API keys do not (conversations.md 7.1)."""
        return PAGE_ROUTES.match(self.path) is not None

    @property
    def is_dify(self) -> bool:
        """Whether refusals are worded for Dify (knowledge.md 4.8)."""
        return "/dify/" in self.path


def operations(app: FastAPI) -> list[Operation]:
    """Return every operation of the OpenAPI page, machine-facing ones too."""
    return list(_operations(app.openapi()))


def _operations(schema: dict[str, Any]) -> Iterator[Operation]:
    for path, methods in schema["paths"].items():
        for method, told in methods.items():
            yield Operation(method.upper(), path, told)


def keyed(app: FastAPI) -> list[Operation]:
    """Return the operations that want a key."""
    return [one for one in operations(app) if one.path not in MACHINES]
