"""Pages that hold tokens, for tests."""

from dataclasses import dataclass
from typing import Any

import httpx

from tests.conftest import Tenant
from tests.service import NO_ROOTS, Service
from tests.tokens.world import make

SHOP = "https://shop.example"


@dataclass(frozen=True)
class Page:
    """A page with a bot on it: what it sends, and to which bot."""

    client: httpx.AsyncClient
    dialog_id: str

    @property
    def path(self) -> str:
        return f"/api/v1/chatbots/{self.dialog_id}"

    async def ask(self, **body: Any) -> httpx.Response:
        return await self.client.post(f"{self.path}/completions", json={"stream": False, **body})

    async def session(self, **body: Any) -> str:
        """Open a session and return its id."""
        answer = await self.ask(**body)
        assert answer.status_code == 200, answer.text
        session_id: str = answer.json()["data"]["session_id"]
        return session_id


def page(service: Service, token: str, dialog_id: str, origin: str | None = None) -> Page:
    """Return a page whose script holds `token`."""
    headers = {"Authorization": f"Bearer {token}"} | ({"Origin": origin} if origin is not None else {})
    return Page(httpx.AsyncClient(base_url=service.base_url, headers=headers, timeout=20, verify=NO_ROOTS), dialog_id)


async def embedded(service: Service, tenant: Tenant, dialog_id: str) -> Page:
    """Return a page with an embed token of the tenant."""
    async with service.client(tenant) as client:
        return page(service, (await make(client))["beta"], dialog_id)


async def visiting(service: Service, tenant: Tenant, dialog_id: str, visitor: str, origin: str = SHOP) -> Page:
    """Return a page of `origin` that holds a visitor's token."""
    return page(service, await minted(service, tenant, dialog_id, visitor, origin), dialog_id, origin)


async def minted(service: Service, tenant: Tenant, dialog_id: str, visitor: str, origin: str = SHOP) -> str:
    """Return a visitor's token."""
    async with service.client(tenant) as client:
        answer = await client.post(
            f"/api/v1/chatbots/{dialog_id}/visitor_tokens", json={"origin": origin, "visitor": visitor}
        )
    assert answer.status_code == 200, answer.text
    token: str = answer.json()["data"]["token"]
    return token
