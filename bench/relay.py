"""The least a service between caller and model can be: the yardstick for what everything else costs.

FastAPI, httpx over aiohttp's transport, `StreamingResponse`; no key, no database. As any service with a wire of its own
must, it parses each event and encodes it again; events that came in one read leave in one write.
"""

import argparse
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from httpx_aiohttp import AiohttpTransport


def build(upstream: str) -> FastAPI:
    """Return the relay in front of `upstream`, a base URL."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncGenerator[None, None]:
        limits = httpx.Limits(max_connections=2000, max_keepalive_connections=2000, keepalive_expiry=4)
        async with httpx.AsyncClient(transport=AiohttpTransport(limits=limits), timeout=60) as client:
            app.state.client = client
            yield

    app = FastAPI(lifespan=lifespan)

    @app.get("/readyz")
    async def ready() -> dict[str, bool]:
        return {"ready": True}

    @app.post("/v1/chat/completions", response_model=None)
    async def complete(request: Request) -> Response:
        client: httpx.AsyncClient = request.app.state.client
        body: dict[str, Any] = orjson.loads(await request.body())
        url = f"{upstream}/chat/completions"
        if not body.get("stream"):
            whole = await client.post(url, content=orjson.dumps(body))
            return Response(orjson.dumps(orjson.loads(whole.content)), media_type="application/json")
        return StreamingResponse(_stream(client, url, body), media_type="text/event-stream")

    return app


async def _stream(client: httpx.AsyncClient, url: str, body: dict[str, Any]) -> AsyncIterator[bytes]:
    pending = b""
    async with client.stream("POST", url, content=orjson.dumps(body)) as answer:
        async for read in answer.aiter_raw():
            *events, pending = (pending + read).split(b"\n\n")
            if events:
                yield b"".join(map(_again, events))


def _again(event: bytes) -> bytes:
    payload = event.removeprefix(b"data: ")
    return b"data: " + (payload if payload == b"[DONE]" else orjson.dumps(orjson.loads(payload))) + b"\n\n"


def main() -> None:
    """Serve on 127.0.0.1 until killed."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--port", type=int, required=True)
    arguments.add_argument("--upstream", required=True)
    chosen = arguments.parse_args()
    uvicorn.run(
        build(chosen.upstream),
        port=chosen.port,
        loop="uvloop",
        http="httptools",
        access_log=False,
        log_level="critical",
    )


if __name__ == "__main__":
    main()
