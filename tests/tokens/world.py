"""Calls of the routes of tokens, for tests."""

from typing import Any

import httpx

from tests.service import Service

TOKENS = "/api/v1/system/tokens"


async def make(client: httpx.AsyncClient, **wish: Any) -> dict[str, Any]:
    """Make a token and return it with its secrets."""
    answer = await client.post(TOKENS, json=wish)
    assert answer.status_code == 200, answer.text
    assert answer.json()["code"] == 0
    made: dict[str, Any] = answer.json()["data"]
    return made


async def listed(client: httpx.AsyncClient) -> dict[str, dict[str, Any]]:
    """Return the tokens of the list, by id."""
    answer = await client.get(TOKENS)
    assert answer.status_code == 200, answer.text
    return {one["id"]: one for one in answer.json()["data"]}


def told(answer: httpx.Response) -> tuple[int, int, str]:
    """Return status, code and message of a refusal; nothing else is in it."""
    body = answer.json()
    assert body == {"code": body["code"], "message": body["message"], "data": None}, body
    return answer.status_code, body["code"], body["message"]


async def opens(service: Service, secret: str, path: str = "/api/v1/chats", **headers: str) -> bool:
    """Say whether a secret opens a route."""
    async with service.client() as bare:
        answer = await bare.get(path, headers={"Authorization": f"Bearer {secret}", **headers})
    assert answer.status_code in (200, 401), answer.text
    return answer.status_code == 200
