"""Issue 3, items 3 and 4 from one end to the other: every file type and every chunk method, from upload to search."""

from typing import Any

import pytest

from tests.chats.world import Api
from tests.ingest.files import make_docx, make_pdf
from tests.ingest.office_files import (
    make_doc,
    make_eml,
    make_epub,
    make_odf,
    make_odp,
    make_ods,
    make_png,
    make_ppt,
    make_pptx,
    make_xls,
    make_xlsx,
)
from tests.ingest.ole_files import make_msg
from tests.knowledge.speaking import Speaker, speaking, talker, world
from tests.knowledge.world import World, make_dataset, parse, shown, upload

__all__ = ["talker", "world"]

SAYS = "The walrus sleeps on the ice."
SAID = SAYS.encode()
AT_ONCE = 5  # files that an upload may have here
FILES: dict[str, tuple[bytes, str]] = {
    "a.txt": (SAID, "walrus"),
    "a.md": (b"# Sea\n\n" + SAID, "walrus"),
    "a.html": (b"<h1>Sea</h1><p>" + SAID, "walrus"),
    "a.csv": (b"number,says\n1," + SAID, "walrus"),
    "a.json": (b'{"says": "%s"}' % SAID, "walrus"),
    "a.jsonl": (b'{"says": "%s"}\n{"says": "no"}\n' % SAID, "walrus"),
    "a.xml": (b"<sea><title>Sea</title><para>%s</para></sea>" % SAID, "walrus"),
    "a.eml": (make_eml(), "refunds"),
    "a.msg": (make_msg(), "table"),
    "a.pdf": (make_pdf(chapters=1, has_table=True), "Madrid"),
    "a.docx": (make_docx(), "holidays"),
    "a.doc": (make_doc(SAYS), "walrus"),
    "a.pptx": (make_pptx(make_png()), "fees"),
    "a.ppt": (make_ppt([[SAYS]]), "walrus"),
    "a.xlsx": (make_xlsx({"S": [("says",), (SAYS,)]}), "walrus"),
    "a.xls": (make_xls([("number", "says"), (1.0, SAYS)]), "walrus"),
    "a.ods": (make_ods(), "Cash"),
    "a.odt": (make_odf(f"<office:text><text:p>{SAYS}</text:p></office:text>"), "walrus"),
    "a.odp": (make_odp(), "below"),
    "a.epub": (make_epub([("Sea", SAYS)]), "walrus"),
    "a.rtf": (rb"{\rtf1 %s\par}" % SAID, "walrus"),
    "a.svg": (b"<svg><text>%s</text></svg>" % SAID, "walrus"),
    "a.py": (b"# %s\nprint()\n" % SAID, "walrus"),
    "a.sql": (b"-- %s\nSELECT 1;\n" % SAID, "walrus"),
    "a.png": (make_png(), "green"),
}
METHODS: dict[str, tuple[str, bytes, str]] = {
    "naive": ("a.md", b"# Sea\n\n" + SAID, SAYS),
    "qa": ("a.csv", b"Who sleeps?,The walrus.\n", "Question: Who sleeps?\tAnswer: The walrus."),
    "table": ("a.csv", b"Animal,Weight\nwalrus,900\n", "Animal:walrus; Weight:900"),
    "tag": ("a.txt", SAID + b"\tsea,ice", SAYS),
    "paper": ("a.pdf", make_pdf(chapters=1), "Refunds are paid"),
    "book": ("a.txt", b"Chapter 1 Sea\n" + SAID + b"\nChapter 2 Land\nNothing.", SAYS),
    "laws": ("a.txt", b"Article 1 Sea\n" + SAID + b"\nArticle 2 Land\nNothing.", SAYS),
    "manual": ("a.docx", make_docx(), "Everybody has thirty days."),
    "presentation": ("a.pptx", make_pptx(make_png()), ""),
    "picture": ("a.png", make_png(), "A green walrus."),
    "one": ("a.xlsx", make_xlsx({"S": [("says",), (SAYS,)]}), f"<td>{SAYS}</td>"),
    "email": ("a.eml", make_eml(), "Refunds are paid within thirty days."),
    "knowledge_graph": ("a.md", b"# Sea\n\n" + SAID, SAYS),
}


async def taken_in(world: World, api: Api, files: dict[str, bytes], **dataset: Any) -> tuple[str, list[Any]]:
    """Upload and parse; the dataset's id, and the documents as they are then."""
    dataset_id: str = (await make_dataset(api, **dataset))["id"]
    names = list(files)
    ids: list[str] = []
    for start in range(0, len(names), AT_ONCE):
        some = [(name, files[name]) for name in names[start : start + AT_ONCE]]
        ids += [document["id"] for document in await upload(api, dataset_id, *some)]
    await parse(api, dataset_id, *ids)
    await world.work()
    return dataset_id, [await shown(api, dataset_id, each) for each in ids]


@pytest.fixture
async def seer(world: World, talker: Speaker) -> Speaker:
    """A vision model: pictures are read by somebody, whatever is installed."""
    seer = Speaker(answer=lambda _: "A green walrus.", name="seer")
    speaking(world, chat=talker, vision=seer)
    return seer


@pytest.mark.promise("issue3-formats", "5.4-plain", "5.4-sheets", "5.4-html", "5.4-json", "5.5-email-read")
async def test_every_file_type_is_found_by_its_words(world: World, api: Api, seer: Speaker) -> None:
    files = {name: data for name, (data, _) in FILES.items()}
    dataset_id, documents = await taken_in(world, api, files)
    for document in documents:
        _, word = FILES[document["name"]]
        assert document["run"] == "DONE", (document["name"], document["progress_msg"])
        path = f"/datasets/{dataset_id}/documents/{document['id']}/chunks"
        found = await api.ok("GET", path, params={"keywords": word})
        assert found["total"] >= 1, (document["name"], (await api.ok("GET", path))["chunks"])


@pytest.mark.promise("5.5-inputs")
@pytest.mark.parametrize("method", METHODS)
async def test_every_chunk_method_makes_its_chunks(world: World, api: Api, seer: Speaker, method: str) -> None:
    name, data, content = METHODS[method]
    first = "naive" if method == "knowledge_graph" else method  # datasets do not have that one (1.1)
    dataset_id, [document] = await taken_in(world, api, {name: data}, chunk_method=first)
    if document["chunk_method"] != method:
        path = f"/datasets/{dataset_id}/documents/{document['id']}"
        await api.ok("PUT", path, json={"chunk_method": method})
        await parse(api, dataset_id, document["id"])
        await world.work()
        document = await shown(api, dataset_id, document["id"])
    assert (document["run"], document["chunk_method"]) == ("DONE", method), document["progress_msg"]
    chunks = (await api.ok("GET", f"/datasets/{dataset_id}/documents/{document['id']}/chunks"))["chunks"]
    assert any(content in chunk["content"] for chunk in chunks), chunks
