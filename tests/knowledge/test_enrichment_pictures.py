"""Pictures without enough text of their own become what a vision model says of them (knowledge.md 5.5)."""

import io
from typing import Any

import httpx
import pytest
from PIL import Image

from app.domain.documents import ParseFailed, Picture, RawChunk
from app.domain.ids import DocumentId
from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.asking import Asker
from app.ingest.enriching import EnrichedChunk
from app.ingest.model_enricher import ModelEnricher
from app.llm.openai_chat import OpenAIChatConfig, OpenAIChatModel
from app.llm.tokens import ApproximateTokenCounter
from app.net.http import HttpClient, HttpConfig
from app.retrieval.delimiting import as_data
from tests.chats.world import Api
from tests.knowledge.speaking import Speaker, chunks_of, speaking, talker, usage_of
from tests.knowledge.world import World, make_dataset, parsed, upload
from tests.upstream.fixtures import ScriptedUpstream

__all__ = ["talker"]


def png() -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (64, 48), (10, 120, 40)).save(held, "PNG")
    return held.getvalue()


async def picture_dataset(api: Api) -> Any:
    return await make_dataset(api, chunk_method="picture")


@pytest.mark.promise("5.5-picture-vision")
async def test_a_picture_without_text_is_what_the_vision_model_sees(world: World, api: Api, talker: Speaker) -> None:
    seer = Speaker(answer=lambda _: "A green rectangle.", name="seer")
    speaking(world, chat=talker, vision=seer)
    dataset = await picture_dataset(api)
    (document,) = await parsed(world, api, dataset["id"], ("green.png", png()))
    assert document["run"] == "DONE", document["progress_msg"]
    (chunk,) = await chunks_of(world, api, document["id"])
    assert chunk.content == "A green rectangle."
    assert len(seer.pictures) == 1
    assert Image.open(io.BytesIO(seer.pictures[0])).size == (64, 48)
    assert await usage_of(world, api) == {"vision": 1}


@pytest.mark.promise("5.5-picture-unreadable")
async def test_a_picture_nobody_can_read_fails_and_says_what_to_configure(
    world: World, api: Api, talker: Speaker
) -> None:
    dataset = await picture_dataset(api)
    (document,) = await parsed(world, api, dataset["id"], ("green.png", png()))
    assert (document["run"], document["chunk_count"]) == ("FAIL", 0)
    assert document["progress_msg"].endswith(
        "[ERROR]green.png holds no text that could be read, and no vision model is configured to describe it. Add a "
        "model of the kind `vision` to the models file."
    )
    assert talker.asked == []


@pytest.mark.promise("5.5-picture-data-uri", "5.10-scripted-upstream")
async def test_pictures_go_to_the_provider_as_data_uris(world: World, api: Api, upstream: ScriptedUpstream) -> None:
    async with HttpClient(HttpConfig()) as http:
        config = OpenAIChatConfig(name="scripted", provider="tests", base_url=upstream.base_url, api_key="key")
        model = OpenAIChatModel(config, http, ApproximateTokenCounter())
        asker = Asker(world.database, model, api.tenant_id, purpose="vision")
        message = ChatMessage(
            role="user",
            content='What is it? @@{"text": "A dot."}',
            pictures=(Picture(data=b"\x89PNG", media_type="image/png"),),
        )
        other = ChatMessage(
            role="user", content=message.content, pictures=(Picture(data=b"\x89PNX", media_type="image/png"),)
        )
        assert await asker.ask([message], GenerationOptions()) == "A dot."
        assert await asker.ask([message], GenerationOptions()) == "A dot."
        assert await asker.ask([other], GenerationOptions()) == "A dot."
        async with httpx.AsyncClient() as client:
            calls = (await client.get(f"{upstream.base_url.removesuffix('/v1')}/_calls")).json()
    told = [call["last_user_text"] for call in calls]
    assert len(told) == 2  # the same picture is asked about once, another one anew
    assert "data:image/png;base64,iVBORw==" in told[0]
    assert "'type': 'image_url'" in told[0]


WORDS = " ".join(f"word{number}" for number in range(33))


async def enriched_picture(world: World, api: Api, content: str) -> EnrichedChunk:
    """Enrich one picture on which `content` was read; no text recognition needs to be installed."""
    made = await make_dataset(api, chunk_method="picture")
    (document,) = await upload(api, made["id"], ("green.png", png()))
    async with world.database.unit(api.tenant_id) as unit:
        stored = await unit.documents.find(DocumentId(document["id"]))
    assert stored is not None
    raw = RawChunk(content=content, section_order=None, positions=(), ordinal=0, doc_type="image")
    chunk = EnrichedChunk(raw=raw, picture=Picture(data=png(), media_type="image/png"))
    enricher = ModelEnricher(world.database, world.catalogue, ApproximateTokenCounter())

    async def report(_: float, __: str) -> None:
        pass

    (found,) = await enricher.enrich(stored, [chunk], report=report)
    return found


@pytest.mark.promise("5.5-picture-enough-text", "5.5-picture-vision")
async def test_only_a_picture_with_little_text_is_described(world: World, api: Api, talker: Speaker) -> None:
    seer = Speaker(answer=lambda _: "A green rectangle.", name="seer")
    speaking(world, chat=talker, vision=seer)
    assert (await enriched_picture(world, api, WORDS)).raw.content == WORDS
    assert seer.asked == []
    assert (await enriched_picture(world, api, "Exit")).raw.content == "Exit\n\nA green rectangle."
    assert as_data("Exit") in seer.asked[0]
    assert seer.pictures == [png()]
    few = WORDS.removesuffix(" word32")
    assert len(few.split()) == 32
    assert (await enriched_picture(world, api, few)).raw.content == f"{few}\n\nA green rectangle."


@pytest.mark.promise("5.5-picture-text-only")
async def test_a_picture_with_some_text_needs_no_vision_model(world: World, api: Api, talker: Speaker) -> None:
    assert (await enriched_picture(world, api, "Exit")).raw.content == "Exit"


@pytest.mark.promise("5.5-picture-unreadable")
async def test_a_vision_model_without_words_fails_the_picture(world: World, api: Api, talker: Speaker) -> None:
    speaking(world, chat=talker, vision=Speaker(answer=lambda _: "", name="seer"))
    with pytest.raises(ParseFailed, match=r"seer@builtin had nothing to say about green\.png"):
        await enriched_picture(world, api, "")
