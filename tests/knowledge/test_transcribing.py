"""Pages of a PDF that a vision model writes down (knowledge.md 5.4, `layout_recognize`)."""

import io
from typing import Any

import pytest
from PIL import Image

from tests.chats.world import Api
from tests.ingest.files import make_pdf
from tests.knowledge.speaking import Speaker, speaking, talker, world
from tests.knowledge.world import World, make_dataset, parse, shown, upload

__all__ = ["talker", "world"]


class Seer(Speaker):
    """Writes down one page after the other, the second not at all."""

    def __init__(self) -> None:
        super().__init__(answer=self._page, name="seer")

    def _page(self, _: str) -> str:
        number = len(self.asked)
        return "" if number == 2 else f"```markdown\n# Page {number} as seen\n\nThe walrus has {number} tusks.\n```"


@pytest.fixture(autouse=True)
def one_page_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The seer tells pages apart by their order."""
    monkeypatch.setattr("app.ingest.transcribing._AT_ONCE", 1)


async def read(world: World, api: Api, layout: str, name: str = "a.pdf", **changes: Any) -> tuple[str, list[Any]]:
    """Parse a PDF of three pages; the log, and the chunks."""
    dataset = await make_dataset(api, chunk_method=changes.pop("chunk_method", "naive"))
    [document] = await upload(api, dataset["id"], (name, make_pdf(chapters=3)))
    path = f"/datasets/{dataset['id']}/documents/{document['id']}"
    await api.ok("PUT", path, json={"parser_config": {"layout_recognize": layout, **changes}})
    await parse(api, dataset["id"], document["id"])
    await world.work()
    ended = await shown(api, dataset["id"], document["id"])
    assert ended["run"] == "DONE", ended["progress_msg"]
    return ended["progress_msg"], (await api.ok("GET", f"{path}/chunks"))["chunks"]


@pytest.mark.promise("5.4-pdf-vision")
async def test_a_vision_model_writes_the_pages_down(world: World, api: Api, talker: Speaker) -> None:
    seer = Seer()
    speaking(world, chat=talker, vision=seer)

    log, chunks = await read(world, api, "seer@builtin")

    assert len(seer.asked) == 3
    assert all(max(Image.open(io.BytesIO(data)).size) >= 1000 for data in seer.pictures)
    texts = [chunk["content"] for chunk in chunks]
    assert texts[0].startswith("# Page 1 as seen\nThe walrus has 1 tusks.")
    assert texts[-1].startswith("# Page 3 as seen\nThe walrus has 3 tusks.")
    assert "Refunds are paid" in "".join(texts), "the page that the model was silent about keeps its text layer"
    assert "```" not in "".join(texts)
    assert not any(chunk["image_id"] for chunk in chunks)
    assert "Reading pages: 3 of 3." in log
    [row] = await world.rows(api, "SELECT count(*) AS calls FROM usage_ledger WHERE purpose = 'vision'")
    assert row.calls == 3


@pytest.mark.promise("5.4-pdf-vision", "5.5-presentation")
async def test_slides_keep_their_pictures_beside_what_the_model_says(world: World, api: Api, talker: Speaker) -> None:
    speaking(world, chat=talker, vision=Seer())
    _, chunks = await read(world, api, "seer", chunk_method="presentation")
    assert len(chunks) == 3
    assert all(chunk["image_id"] for chunk in chunks)
    assert "The walrus has 1 tusks." in chunks[0]["content"]


@pytest.mark.promise("5.4-pdf-vision")
@pytest.mark.parametrize("layout", ["MinerU", "talker@builtin"])
async def test_a_layout_that_nobody_has_is_told_and_ours_is_taken(
    world: World, api: Api, talker: Speaker, layout: str
) -> None:
    seer = Seer()
    speaking(world, chat=talker, vision=seer)
    log, chunks = await read(world, api, layout)
    assert f"{layout} is no layout of this service and no vision model of it: DeepDOC was taken." in log
    assert chunks[0]["content"].startswith("# Chapter 0 of the guide")
    assert seer.asked == []


@pytest.mark.promise("5.4-pdf-vision")
@pytest.mark.parametrize("layout", ["DeepDOC", "deepdoc", "Plain Text"])
async def test_our_own_layouts_ask_nobody(world: World, api: Api, talker: Speaker, layout: str) -> None:
    seer = Seer()
    speaking(world, chat=talker, vision=seer)
    log, _ = await read(world, api, layout)
    assert "no vision model" not in log
    assert seer.asked == []
