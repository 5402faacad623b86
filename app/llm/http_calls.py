"""JSON calls to a provider that answer in one piece: shared by the embedding and rerank adapters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.llm.addresses import ModelAddress
from app.llm.base import AttemptObserver
from app.llm.encoding import encode
from app.llm.replies import check_status
from app.llm.retry import REAL, RetryPolicy, Surroundings, call_with_retries
from app.net.http import HttpClient


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint(ModelAddress):
    """Where a model is served, and how often and how long it is asked there."""

    attempt_timeout_s: float = 30.0
    policy: RetryPolicy = field(default_factory=RetryPolicy)


class JsonCaller:
    """Posts JSON to one endpoint, with retries, within a deadline."""

    def __init__(
        self,
        endpoint: Endpoint,
        path: str,
        http: HttpClient,
        on_attempt: AttemptObserver | None,
        surroundings: Surroundings = REAL,
    ) -> None:
        self._endpoint = endpoint
        self._url = endpoint.url(path)
        self._http = http
        self._on_attempt = on_attempt
        self._near = surroundings
        self._headers = endpoint.headers("application/json")

    @property
    def model(self) -> str:
        """What the endpoint calls the model."""
        return self._endpoint.model

    async def post(self, body: Mapping[str, Any], *, deadline_s: float) -> bytes:
        """Return the body of the provider's 200.

        Raises:
            UpstreamFailed: or one of its kinds, after the last retry.
        """
        return await call_with_retries(
            partial(self._once, encode(dict(body)), deadline_s),
            provider=self._endpoint.provider,
            model=self._endpoint.name,
            deadline_s=deadline_s,
            policy=self._endpoint.policy,
            on_attempt=self._on_attempt,
            surroundings=self._near,
        )

    async def _once(self, content: bytes, deadline_s: float) -> bytes:
        until = min(deadline_s, self._near.clock() + self._endpoint.attempt_timeout_s)
        answer, body = await self._http.fetch("POST", self._url, until_s=until, content=content, headers=self._headers)
        check_status(answer, body, api_key=self._endpoint.api_key)
        return body
