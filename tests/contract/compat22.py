"""One caller who speaks RAGFlow 0.22, below the mount, on a service of its own; fixtures of several files."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from sqlalchemy import insert

from app.db.knowledge import datasets
from app.domain.ids import new_id
from tests.conftest import Tenant
from tests.service import Events, Service, stream

V1 = "/compat/0.22/api/v1"


@dataclass(frozen=True)
class Old:
    """A client of 0.22: every answer but a stream is HTTP 200 with a code."""

    client: httpx.AsyncClient
    service: Service
    tenant: Tenant

    async def call(self, method: str, path: str, **more: Any) -> Any:
        """Return the body of an answer, which is HTTP 200 whatever it says."""
        answer = await self.client.request(method, V1 + path, **more)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def data(self, method: str, path: str, **more: Any) -> Any:
        """Return the data of a success."""
        body = await self.call(method, path, **more)
        assert set(body) == {"code", "data"}, body
        assert body["code"] == 0
        return body["data"]

    async def refusal(self, method: str, path: str, **more: Any) -> tuple[int, str]:
        """Return code and message of a refusal; only code 100 tells of data, and that it is null."""
        body = await self.call(method, path, **more)
        rest = {"data": None} if body["code"] == 100 else {}
        assert body == {"code": body["code"], "message": body["message"], **rest}, body
        return body["code"], body["message"]

    async def stream(self, path: str, body: Any) -> Events:
        """Read a whole SSE answer."""
        return await stream(self.client, "POST", V1 + path, json=body)

    async def chat(self, **fields: Any) -> Any:
        """Make an assistant that names its model."""
        return await self.data("POST", "/chats", json={"name": new_id(), **fields})

    async def dataset(self, *, chunks: int = 3, embedding: str = "mini@Builtin") -> str:
        """Make a dataset that counts chunks and holds none."""
        dataset_id = new_id()
        values = {
            "tenant_id": self.tenant.id,
            "id": dataset_id,
            "name": f"Docs {dataset_id}",
            "embedding_model": embedding,
            "parser_config": {},
            "chunk_count": chunks,
        }
        async with self.service.database.unit(self.tenant.id) as unit:
            await unit._connection.execute(insert(datasets).values(values))
        return dataset_id


@pytest.fixture
async def old(service: Service, tenant: Tenant) -> AsyncIterator[Old]:
    async with service.client(tenant) as client:
        yield Old(client, service, tenant)
