"""`/v1/embeddings` (openai.md 4), and what official clients make of it."""

import base64
import math
import struct
from collections.abc import AsyncIterator
from typing import Any

import httpx
import openai
import pytest

from app.domain.chats import Chat
from app.domain.errors import UpstreamFailed
from app.domain.models import Embeddings, Usage
from app.llm.openai_embedding import _checked
from app.llm.tokens import BpeTokenCounter
from app.services.embeddings_api import Embedded
from app.wire.openai_embeddings import embeddings_body
from tests.conftest import Tenant
from tests.service import Service
from tests.v1.ledger import ledger

WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"input": ""}, "input", "invalid_value"),
    ({"input": []}, "input", "invalid_value"),
    ({"input": ["a", "b", "c", ""]}, "input.3", "invalid_value"),
    ({"input": [[1], []]}, "input.1", "invalid_value"),
    ({"input": ["a"] * 2049}, "input", "invalid_value"),
    ({"input": ["a", 1]}, "input.1", "invalid_type"),
    ({"input": ["a", [1]]}, "input.1", "invalid_type"),
    ({"input": [-1]}, "input.0", "invalid_type"),
    ({"input": {"a": 1}}, "input", "invalid_type"),
    ({}, "input", "missing_required_parameter"),
    ({"input": "word " * 200}, "input.0", "context_length_exceeded"),
    ({"input": ["a", [15339] * 101]}, "input.1", "invalid_type"),
    ({"input": [[1], [15339] * 101]}, "input.1", "context_length_exceeded"),
    ({"input": "a", "dimensions": 0}, "dimensions", "invalid_value"),
    ({"input": "a", "dimensions": 9, "model": "embed-cut"}, "dimensions", "invalid_value"),
    ({"input": "a", "dimensions": "8"}, "dimensions", "invalid_type"),
    ({"input": "a", "dimensions": 3}, "dimensions", "unsupported_parameter"),
    ({"input": "a", "encoding_format": "int8"}, "encoding_format", "invalid_value"),
    ({"input": "a", "user": 3}, "user", "invalid_type"),
    ({"input": [True]}, "input.0", "invalid_type"),
    ({"input": "a", "model": None}, "model", "missing_required_parameter"),
]


@pytest.fixture
async def official(service: Service, tenant: Tenant) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=f"{service.base_url}/v1", api_key=tenant.key, max_retries=0) as client:
        yield client


async def vectors(client: httpx.AsyncClient, **body: Any) -> list[Any]:
    answer = await client.post("/v1/embeddings", json={"model": "embed", **body})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert (told["object"], told["model"]) == ("list", body.get("model", "embed"))
    assert [(one["object"], one["index"]) for one in told["data"]] == [
        ("embedding", at) for at in range(len(told["data"]))
    ]
    assert set(told) == {"object", "data", "model", "usage"}
    assert told["usage"]["prompt_tokens"] == told["usage"]["total_tokens"] > 0
    return [one["embedding"] for one in told["data"]]


@pytest.mark.promise("openai:E-01", "openai:4-base64")
async def test_the_official_client_decodes_what_it_gets(official: openai.AsyncOpenAI) -> None:
    packed = await official.embeddings.create(model="embed", input="A small text")
    plain = await official.embeddings.create(model="embed", input="A small text", encoding_format="float")
    rounded = [struct.unpack("<f", struct.pack("<f", value))[0] for value in plain.data[0].embedding]
    assert list(packed.data[0].embedding) == rounded


@pytest.mark.promise("openai:E-02", "openai:4-base64")
async def test_floats_unless_base64_is_asked_for(client: httpx.AsyncClient) -> None:
    (plain,) = await vectors(client, input="x")
    assert len(plain) == 8
    assert all(isinstance(value, float) for value in plain)
    (packed,) = await vectors(client, input="x", encoding_format="base64")
    assert len(base64.b64decode(packed)) == 4 * 8
    assert list(struct.unpack("<8f", base64.b64decode(packed))) == plain  # halves of whole numbers, so the same
    assert await vectors(client, input="x", encoding_format="float", user="u-1") == [plain]


@pytest.mark.promise("openai:E-03", "openai:4-tokens")
async def test_token_numbers_stand_for_their_text(client: httpx.AsyncClient, service: Service) -> None:
    tokens = BpeTokenCounter("cl100k_base").load().encode("größe 🐘 so")
    of_text = await vectors(client, input="größe 🐘 so")
    assert await vectors(client, input=["größe 🐘 so"]) == of_text
    assert await vectors(client, input=tokens) == of_text
    assert await vectors(client, input=[tokens, tokens]) == of_text * 2
    await vectors(client, model="embed-any", input=tokens)
    assert service.upstream.calls()[-1]["body"]["input"] == [tokens]
    unable = await client.post("/v1/embeddings", json={"model": "embed-cut", "input": tokens})
    error = unable.json()["error"]
    assert (unable.status_code, error["code"], error["param"]) == (400, "unsupported_value", "input")
    for none in ([4294967295], [246]):  # out of the table; half a character
        answer = await client.post("/v1/embeddings", json={"model": "embed", "input": none})
        assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input.0")


@pytest.mark.promise("openai:E-04", "openai:4-batches")
async def test_many_inputs_go_in_batches_and_stay_in_order(client: httpx.AsyncClient, service: Service) -> None:
    texts = [f"text {number}" for number in range(300)]
    found = await vectors(client, input=texts)
    sizes = [len(call["body"]["input"]) for call in service.upstream.calls()]
    assert sizes == [64, 64, 64, 64, 44]
    assert found[257] == (await vectors(client, input="text 257"))[0]
    assert len({tuple(one) for one in found}) == 300


@pytest.mark.promise("openai:E-05", "openai:4-dimensions")
async def test_dimensions_are_honoured_or_refused(client: httpx.AsyncClient, service: Service) -> None:
    (whole,) = await vectors(client, model="embed-cut", input="x")
    (cut,) = await vectors(client, model="embed-cut", input="x", dimensions=3)
    assert math.isclose(math.hypot(*cut), 1)
    assert [value / cut[0] for value in cut] == pytest.approx([value / whole[0] for value in whole[:3]])
    (asked,) = await vectors(client, model="embed-any", input="x", dimensions=5)
    assert (len(asked), service.upstream.calls()[-1]["body"]["dimensions"]) == (5, 5)
    assert len((await vectors(client, input="x", dimensions=8))[0]) == 8
    refused = await client.post("/v1/embeddings", json={"model": "embed", "input": "x", "dimensions": 3})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"], error["param"]) == (400, "unsupported_parameter", "dimensions")
    assert len((await vectors(client, model="embed-cut", input="x", dimensions=1))[0]) == 1


@pytest.mark.promise("openai:E-06", "openai:4-limits")
async def test_what_is_wrong_is_named(client: httpx.AsyncClient, service: Service) -> None:
    for body, param, code in WRONG:
        answer = await client.post("/v1/embeddings", json={"model": "embed"} | body)
        error = answer.json()["error"]
        assert (answer.status_code, error["param"], error["code"]) == (400, param, code), body
        assert error["type"] == "invalid_request_error"
    assert service.upstream.calls() == []


@pytest.mark.promise("openai:4-limits")
async def test_what_is_just_allowed_is(client: httpx.AsyncClient, service: Service) -> None:
    assert len(await vectors(client, input=["a"] * 2048)) == 2048
    assert sum(len(call["body"]["input"]) for call in service.upstream.calls()) == 2048
    for most in ([15339] * 100, [[15339] * 100]):
        assert len(await vectors(client, input=most)) == 1


@pytest.mark.promise("openai:E-07", "openai:M-06", "openai:2-kinds")
async def test_other_models_are_refused(client: httpx.AsyncClient, chat: Chat) -> None:
    for model, status, code in (
        ("scripted", 400, "unsupported_value"),
        (chat.id, 400, "unsupported_value"),
        ("nobody", 404, "model_not_found"),
        ("0" * 32, 404, "model_not_found"),
    ):
        answer = await client.post("/v1/embeddings", json={"model": model, "input": "x"})
        told = (answer.status_code, answer.json()["error"]["code"], answer.json()["error"]["param"])
        assert told == (status, code, "model")


@pytest.mark.promise("openai:E-08")
async def test_numbers_that_are_none(client: httpx.AsyncClient) -> None:
    for form in ("float", "base64"):
        body = {"model": 'nan@@{"nan": true}', "input": "x", "encoding_format": form}
        answer = await client.post("/v1/embeddings", json=body)
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "upstream_error")
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.promise("openai:E-08")
def test_numbers_that_no_json_or_float32_holds() -> None:
    for vector in ([math.nan, 1.0], [math.inf, 1.0], [-math.inf, math.inf]):
        with pytest.raises(UpstreamFailed):
            _checked(vector, 2)
    found = Embeddings(vectors=[[1e39, 1.0]], model="m", provider="p", usage=Usage(prompt_tokens=1))
    with pytest.raises(UpstreamFailed):
        embeddings_body(Embedded(model="m", embeddings=found, encoding="base64"))


@pytest.mark.promise("openai:11-usage")
async def test_embeddings_are_on_the_ledger(client: httpx.AsyncClient, service: Service, tenant: Tenant) -> None:
    await vectors(client, input=["one two", "three"])
    (row,) = await ledger(service, tenant, 1)
    assert (row.kind, row.model, row.prompt_tokens, row.api_key_id) == ("embedding", "embed", 3, tenant.key_id)


@pytest.mark.promise("openai:T-17")
async def test_null_is_as_good_as_nothing(client: httpx.AsyncClient) -> None:
    assert await vectors(client, input="x", encoding_format=None, dimensions=None, user=None)
