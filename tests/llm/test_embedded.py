import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path

import anyio
import msgspec
import numpy
import psutil
import pytest

from app.domain.errors import UpstreamRefused, UpstreamTimeout
from app.domain.models import ChatMessage, GenerationOptions, ModelFinish, ModelItem, ModelText, ModelUsage
from app.llm.embedded_chat import EmbeddedChatModel, EmbeddedServer
from app.llm.embedded_embedding import EmbeddedEmbeddingModel
from app.llm.tokens import ApproximateTokenCounter
from app.net.http import HttpClient

pytestmark = pytest.mark.timeout(60)


def asking(text: str) -> list[ChatMessage]:
    return [ChatMessage(role="user", content=text)]


@pytest.fixture
async def server(tmp_path: Path, http: HttpClient) -> AsyncIterator[EmbeddedServer]:
    server = EmbeddedServer(tmp_path, http)
    yield server
    await server.aclose()


@pytest.fixture
def model(server: EmbeddedServer, http: HttpClient) -> EmbeddedChatModel:
    return EmbeddedChatModel(server, http, ApproximateTokenCounter())


async def gather(model: EmbeddedChatModel, text: str, max_tokens: int = 12) -> list[ModelItem]:
    deadline_s = asyncio.get_running_loop().time() + 30
    options = GenerationOptions(temperature=0, max_tokens=max_tokens)
    items: list[ModelItem] = []
    async with aclosing(model.stream(asking(text), options, deadline_s=deadline_s)) as batches:
        async for batch in batches:
            items.extend(batch)
    return items


def pid_of(run_dir: Path) -> int:
    pid: int = msgspec.json.decode((run_dir / "model.json").read_bytes())["pid"]
    return pid


async def test_the_embedded_model_streams_several_answers_at_once_and_counts(model: EmbeddedChatModel) -> None:
    answers: list[list[ModelItem]] = []

    async def ask(text: str) -> None:
        answers.append(await gather(model, text))

    async with asyncio.TaskGroup() as calls:
        for text in ("What is a cat?", "What is rain?", "Say hello."):
            calls.create_task(ask(text))

    for items in answers:
        assert sum(isinstance(item, ModelText) for item in items) > 1
        assert isinstance(items[-2], ModelFinish)
        assert isinstance(items[-1], ModelUsage)
        assert items[-1].usage.completion_tokens > 1
        assert not items[-1].usage.is_estimated
        assert (items[-1].model, items[-1].provider) == ("smollm2-135m-instruct", "builtin")


async def test_a_prompt_over_the_context_is_refused_with_both_numbers(model: EmbeddedChatModel) -> None:
    with pytest.raises(UpstreamRefused, match=r"has 30\d\d tokens; this model's context is 2048"):
        await gather(model, "word " * 3000)


async def test_leaving_early_frees_the_slot(model: EmbeddedChatModel, server: EmbeddedServer, http: HttpClient) -> None:
    deadline_s = asyncio.get_running_loop().time() + 30
    options = GenerationOptions(max_tokens=1500)
    async with aclosing(model.stream(asking("Tell a very long story."), options, deadline_s=deadline_s)) as batches:
        await anext(batches)
    base_url, key = await server.ready()

    with anyio.fail_after(5):
        while True:
            _, body = await http.fetch(
                "GET",
                base_url.removesuffix("/v1") + "/slots",
                until_s=asyncio.get_running_loop().time() + 5,
                headers={"authorization": f"Bearer {key}"},
            )
            slots = msgspec.json.decode(body)
            if not any(slot["is_processing"] for slot in slots):
                break
    assert len(slots) == 4


async def test_two_services_on_one_folder_share_one_process(tmp_path: Path, http: HttpClient) -> None:
    services = [EmbeddedServer(tmp_path, http) for _ in range(3)]
    places: set[tuple[str, str]] = set()

    async def ready(service: EmbeddedServer) -> None:
        places.add(await service.ready())

    try:
        async with asyncio.TaskGroup() as starts:
            for service in services:
                starts.create_task(ready(service))
    finally:
        for service in services:
            await service.aclose()

    assert len(places) == 1


async def test_a_model_process_that_was_killed_is_started_again(model: EmbeddedChatModel, tmp_path: Path) -> None:
    await model.ready()
    first = pid_of(tmp_path)
    os.kill(first, signal.SIGKILL)

    items = await gather(model, "Say hello.")

    assert isinstance(items[-1], ModelUsage)
    assert pid_of(tmp_path) != first


OWNER = """
import asyncio, pathlib, sys
from app.llm.embedded_chat import EmbeddedServer
from app.net.http import HttpClient
async def main():
    await EmbeddedServer(pathlib.Path(sys.argv[1]), HttpClient()).ready()
    print("ready", flush=True)
    await asyncio.sleep(60)
asyncio.run(main())
"""


def test_the_model_process_dies_with_its_owner(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        try:
            assert b"ready\n" in iter(owner.stdout.readline, b"")
            process = psutil.Process(pid_of(tmp_path))
            assert oct((tmp_path / "model.json").stat().st_mode & 0o777) == "0o600"
        finally:
            owner.kill()

    process.wait(5)


async def test_near_texts_have_near_vectors_whatever_their_company() -> None:
    model = EmbeddedEmbeddingModel()
    texts = ["How do I get my money back?", "Refunds are paid within 30 days.", "Volcanoes are hot.", "", "long " * 900]
    deadline_s = asyncio.get_running_loop().time() + 30

    together = await model.embed(texts * 5, deadline_s=deadline_s)
    alone = model.embed_sync(texts[:1])

    vectors = numpy.array(together.vectors)
    assert vectors.shape == (25, 384)
    assert numpy.allclose(numpy.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2
    assert vectors[0] @ numpy.array(alone.vectors[0]) > 0.98  # int8: the company changes the last digits
    assert (alone.usage.prompt_tokens, alone.usage.is_estimated) == (10, False)
    assert together.usage.prompt_tokens == 5 * (10 + 10 + 6 + 2 + 256)


async def test_embedding_stops_at_its_deadline() -> None:
    model = EmbeddedEmbeddingModel()
    await model.ready()

    with pytest.raises(UpstreamTimeout):
        await model.embed(["a text of some words"] * 2000, deadline_s=asyncio.get_running_loop().time() + 0.05)


def test_a_text_no_tokenizer_can_read_has_a_vector_too() -> None:
    assert len(EmbeddedEmbeddingModel().embed_sync(["lone \ud800 surrogate", "naïve café"]).vectors) == 2
