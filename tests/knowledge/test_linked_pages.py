"""Pages that a document links to, chunked with it (knowledge.md 5.4, `analyze_hyperlink`)."""

import io
from collections.abc import AsyncGenerator, Sequence
from dataclasses import replace

import anyio
import pytest
from docx import Document
from docx.opc.constants import RELATIONSHIP_TYPE

from app.ingest import linked_pages
from app.ingest.caps import ParseHints
from app.ingest.parsers import parse as parse_file
from app.net.http import HttpClient, HttpConfig
from app.net.pages import PageFetcher
from app.worker import run_worker
from tests.chats.world import Api
from tests.knowledge.world import FAST, World, make_dataset, parse, shown, upload
from tests.net.test_pages import Site, running_site

FOLLOW = {"analyze_hyperlink": True}


def docx(*links: str) -> bytes:
    document = Document()
    document.add_paragraph("See the timetable.")
    for link in links:
        document.part.relate_to(link, RELATIONSHIP_TYPE.HYPERLINK, is_external=True)
    held = io.BytesIO()
    document.save(held)
    return held.getvalue()


def pdf(*links: str) -> bytes:
    """A page of text with link annotations."""
    notes = b" ".join(
        f"<</Type/Annot/Subtype/Link/Rect[10 10 90 90]/A<</S/URI/URI({link})>>>>".encode() for link in links
    )
    text = b"BT /F1 24 Tf 20 100 Td (See the timetable.) Tj ET"
    parts = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 400 200]/Contents 4 0 R/Resources<</Font<</F1 5 0 R>>>>/Annots["
        + notes
        + b"]>>",
        b"<</Length %d>>stream\n%s\nendstream" % (len(text), text),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    body = b"%PDF-1.7\n"
    places: list[int] = []
    for number, part in enumerate(parts, 1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    return body + b"xref\n0 6\n0000000000 65535 f \n%strailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF" % (
        table,
        len(body),
    )


@pytest.fixture
async def site() -> AsyncGenerator[Site]:
    async with running_site() as site:
        yield site


async def contents(world: World, api: Api, name: str, data: bytes, *, is_public_only: bool = False) -> tuple[str, str]:
    """Upload and parse with links followed; the log, and the text of all chunks."""
    dataset_id = (await make_dataset(api))["id"]
    [document] = await upload(api, dataset_id, (name, data))
    await api.ok("PUT", f"/datasets/{dataset_id}/documents/{document['id']}", json={"parser_config": FOLLOW})
    await parse(api, dataset_id, document["id"])
    async with HttpClient(HttpConfig(is_public_only=is_public_only)) as http:
        parts = replace(world.worker_parts(FAST, hears=False), pages=PageFetcher(http, timeout_s=2))
        with anyio.fail_after(60):
            await run_worker(parts, exit_when_idle_s=0.05)
    ended = await shown(api, dataset_id, document["id"])
    assert ended["run"] == "DONE", ended["progress_msg"]
    listed = await api.ok("GET", f"/datasets/{dataset_id}/documents/{document['id']}/chunks")
    return ended["progress_msg"], "\n".join(chunk["content"] for chunk in listed["chunks"])


@pytest.mark.promise("5.4-hyperlinks")
@pytest.mark.parametrize("name", ["a.docx", "a.pdf"])
async def test_linked_pages_are_chunked_with_the_document(world: World, api: Api, site: Site, name: str) -> None:
    deeper = site.page("/deeper", b"<p>Nobody asked for this.</p>")
    page = site.page("/ferries", f"<p>The ferry leaves at nine.</p><a href='{deeper}'>more</a>".encode())
    text = site.page("/rules.txt", b"Dogs need a ticket.", kind="text/plain")
    gone = site.page("/gone", b"", status="410 Gone")
    links: Sequence[str] = (page, f"{page}#top", text, gone, "mailto:ann@example.org")

    log, read = await contents(world, api, name, docx(*links) if name == "a.docx" else pdf(*links))

    assert "See the timetable." in read
    assert "The ferry leaves at nine." in read
    assert "Dogs need a ticket." in read
    assert "Nobody asked" not in read
    assert f"{gone} could not be read: The page answered with status 410." in log
    assert sorted(site.asked) == ["/ferries", "/gone", "/rules.txt"]


@pytest.mark.promise("5.4-hyperlinks")
async def test_links_into_our_own_network_are_not_followed(world: World, api: Api, site: Site) -> None:
    inside = site.page("/secret", b"<p>secret</p>")
    log, read = await contents(world, api, "a.docx", docx(inside), is_public_only=True)
    assert "secret" not in read.replace(inside, "")
    assert f"{inside} could not be reached." in log
    assert site.asked == []


@pytest.mark.promise("5.4-hyperlinks")
async def test_links_that_are_no_addresses_cost_the_document_nothing(world: World, api: Api) -> None:
    log, read = await contents(world, api, "a.docx", docx("http://[#x", "http://a..b/", "http://" + "a" * 70 + "/"))
    assert "See the timetable." in read
    assert log.count("could not be read") == 3


@pytest.mark.promise("5.4-hyperlinks")
async def test_only_a_few_links_are_followed(
    world: World, api: Api, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linked_pages, "PAGES_MOST", 2)
    pages = [site.page(f"/{number}", b"<p>words</p>") for number in range(4)]
    log, _ = await contents(world, api, "a.docx", docx(*pages))
    assert "4 links; the pages of the first 2 are read." in log
    assert len(site.asked) == 2


@pytest.mark.promise("5.4-hyperlinks")
@pytest.mark.parametrize("name", ["a.docx", "a.pdf"])
def test_links_are_read_only_if_asked(name: str) -> None:
    links = [f"http://127.0.0.1/{number}" for number in range(4)]
    data = docx(*links) if name == "a.docx" else pdf(*links)
    assert parse_file(data, name).links == ()
    assert list(parse_file(data, name, hints=ParseHints(links=True)).links) == links


@pytest.mark.promise("5.4-hyperlinks")
async def test_a_page_that_never_comes_holds_the_document_up_for_a_while_only(
    world: World, api: Api, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(linked_pages, "_WITHIN_S", 0.3)
    log, read = await contents(world, api, "a.docx", docx(f"http://127.0.0.1:{site.port}/silent"))
    assert "1 linked pages did not come in time." in log
    assert "See the timetable." in read
