"""knowledge.md 2.8 and 5: documents of every chunk method, from upload to stored chunks."""

import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import xxhash
from sqlalchemy import text

from app.domain.datasets import Document
from app.domain.ids import DatasetId, DocumentId, TenantId
from app.domain.retrieval import ModelCall
from app.ingest.blobs import BlobStore
from app.ingest.embedding import ChunkEmbedder, embedded_text, name_share, without_table_tags
from app.ingest.enriching import EnrichedChunk, PlainEnricher, Report
from app.ingest.images import image_key, image_size
from app.ingest.pipeline import Built, Pipeline, PipelineConfig
from app.llm.scripted import ScriptedEmbeddingModel
from app.llm.tokens import ApproximateTokenCounter
from tests.chats.world import Api
from tests.ingest.files import make_docx, make_pdf
from tests.ingest.office_files import make_eml, make_png, make_pptx, make_xlsx
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, parsed, shown, upload

LOG_LINE = re.compile(r"\d\d:\d\d:\d\d (?:\[ERROR\])?(?:Page\(\d+~\d+\): )?\S.*")


async def chunks_of(world: World, api: Api, document_id: str) -> list[Any]:
    return list(
        await world.rows(
            api,
            "SELECT c.*, s.title AS section FROM chunks c LEFT JOIN sections s ON s.id = c.section_id"
            " WHERE c.document_id = :id ORDER BY c.ordinal",
            id=document_id,
        )
    )


@pytest.mark.promise("5.6-searched-question", "5.6-labels", "2.1-thumbnail")
async def test_the_list_finds_a_pair_by_its_question_only(world: World, api: Api) -> None:
    dataset = await make_dataset(api, chunk_method="qa")
    [document] = await parsed(world, api, dataset["id"], ("faq.txt", b"Which fruit?\tbananas\nWhich drink?\tlemonade"))
    assert (document["run"], document["chunk_count"], document["thumbnail"]) == ("DONE", 2, "")
    path = f"/datasets/{dataset['id']}/documents/{document['id']}/chunks"
    found = await api.ok("GET", path, params={"keywords": "fruit"})
    [pair, _] = await chunks_of(world, api, document["id"])
    assert pair.content == "Question: Which fruit?\tAnswer: bananas"
    assert [chunk["id"] for chunk in found["chunks"]] == [pair.id]
    assert (await api.ok("GET", path, params={"keywords": "lemonade"}))["total"] == 0


@pytest.mark.promise("5.7-typed-cells", "5.7-field-map")
async def test_a_tables_cells_and_its_columns_are_stored(world: World, api: Api) -> None:
    dataset = await make_dataset(api, chunk_method="table")
    files = (("one.csv", b"id,Name,Age\n1,Ann,31\n2,Bob,40\n"), ("two.txt", b"City\tName\nRome\tCid\n"))
    documents = await parsed(world, api, dataset["id"], *files)
    assert [document["run"] for document in documents] == ["DONE", "DONE"]
    rows = await chunks_of(world, api, documents[0]["id"])
    assert [(row.content, row.cells) for row in rows] == [
        ("Name:Ann; Age:31", {"age_long": 31, "name_tks": "Ann"}),
        ("Name:Bob; Age:40", {"age_long": 40, "name_tks": "Bob"}),
    ]
    [stored] = await api.ok("GET", "/datasets", params={"id": dataset["id"]})
    assert stored["parser_config"]["field_map"] == {"name_tks": "Name", "age_long": "Age", "city_tks": "City"}


@pytest.mark.promise("5.8-rows")
async def test_tags_of_rows_are_stored(world: World, api: Api) -> None:
    dataset = await make_dataset(api, chunk_method="tag")
    book = make_xlsx({"Tags": [("bees fly", "animals, v1.2"), ("stones lie", "nature")]})
    [document] = await parsed(world, api, dataset["id"], ("tags.xlsx", book))
    rows = await chunks_of(world, api, document["id"])
    assert [(row.content, row.tags) for row in rows] == [("bees fly", ["animals", "v1_2"]), ("stones lie", ["nature"])]


@pytest.mark.promise("5.5-presentation", "5.1-images")
async def test_slides_are_stored_with_their_place_and_section(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("deck.pptx", make_pptx(make_png("x"))))
    assert (document["chunk_method"], document["run"]) == ("presentation", "DONE")
    rows = await chunks_of(world, api, document["id"])
    assert [(row.positions[0][0], row.section) for row in rows] == [(1, "Fees"), (2, "Thanks")]
    assert "Way: Post; Fee: 3" in rows[0].content
    assert "Smile here" in rows[1].content
    assert rows[0].image_id == f"{dataset['id']}-{rows[0].id}"
    assert [row.image_id for row in rows[1:]] == [""]


@pytest.mark.promise("5.5-presentation", "5.1-images", "2.1-thumbnail")
async def test_pages_of_a_pdf_as_slides_have_their_picture_and_the_document_a_thumbnail(world: World, api: Api) -> None:
    dataset = await make_dataset(api, chunk_method="presentation")
    [document] = await parsed(world, api, dataset["id"], ("deck.pdf", make_pdf(chapters=2)))
    assert document["run"] == "DONE", document["progress_msg"]
    assert document["thumbnail"] == f"thumbnail_{document['id']}.png"
    dataset_id = DatasetId(dataset["id"])
    thumbnail = await world.blobs.get(image_key(api.tenant_id, dataset_id, document["thumbnail"]))
    assert thumbnail.startswith(b"\x89PNG")
    rows = await chunks_of(world, api, document["id"])
    assert [row.positions[0][0] for row in rows] == [1, 2]
    for number, row in enumerate(rows):
        assert f"Chapter {number} of the guide" in row.content
        assert row.image_id == f"{dataset['id']}-{row.id}"
        _, left, right, top, bottom = row.positions[0]
        width, height = image_size(await world.blobs.get(image_key(api.tenant_id, dataset_id, row.id)))
        assert (left, right, top, bottom) == (0, width, 0, height)
        assert width > 100


async def test_pictures_are_announced_before_they_are_written_and_stay_when_a_row_names_them(
    world: World, api: Api
) -> None:
    """A worker that dies in between leaves nothing behind for good: the sweeper finds what no row names."""
    dataset = await make_dataset(api, chunk_method="presentation")
    [document] = await parsed(world, api, dataset["id"], ("deck.pdf", make_pdf(chapters=2)))
    rows = await chunks_of(world, api, document["id"])
    dataset_id = DatasetId(dataset["id"])
    keys = [image_key(api.tenant_id, dataset_id, name) for name in (document["thumbnail"], *(row.id for row in rows))]
    lost = image_key(api.tenant_id, dataset_id, "0" * 16)
    async with world.database.unit(api.tenant_id) as unit:
        noted = await unit._connection.execute(text("SELECT key FROM stray_blobs"))
        assert set(keys) <= set(noted.scalars())
        await unit.stray_blobs.add([*keys, lost])  # due now
        assert await unit.stray_blobs.claim(most=100) == [lost]


@pytest.mark.promise("1.3-pages")
async def test_only_the_pages_asked_for_are_read(world: World, api: Api) -> None:
    dataset = await make_dataset(api, parser_config={"pages": [[2, 2]]})
    [document] = await parsed(world, api, dataset["id"], ("a.pdf", make_pdf(chapters=3)))
    rows = await chunks_of(world, api, document["id"])
    assert {place[0] for row in rows for place in row.positions} == {2}
    text = "".join(row.content for row in rows)
    assert [f"Chapter {number} of" in text for number in range(3)] == [False, True, False]


@pytest.mark.promise("5.5-email")
async def test_an_email_is_taken_in_with_its_attachments(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    [document] = await parsed(world, api, dataset["id"], ("mail.eml", make_eml()))
    assert (document["chunk_method"], document["run"]) == ("email", "DONE")
    assert [row.content for row in await chunks_of(world, api, document["id"])] == [
        "Subject: Rückgabe & Geld\nFrom: Änn <ann@example.org>\nTo: bob@example.org\n"
        "Refunds are paid within thirty days.",
        "# täble.csv\na：1; b：2",
        "# Older.eml\nSubject: Older\nFrom: old@example.org\nThe older text.",
    ]


@pytest.mark.promise("5.5-inputs", "5.6-else")
@pytest.mark.parametrize(
    ("method", "name", "reason"),
    [
        ("paper", "a.txt", "file type not supported yet(pdf supported)"),
        ("qa", "a.html", "Excel, csv(txt), pdf, markdown and docx format files are supported."),
        ("table", "a.md", "file type not supported yet(excel, text, csv supported)"),
        ("naive", "a.mp3", "a.mp3: audio is not supported, there is no model that turns speech into text."),
    ],
)
async def test_a_file_that_its_method_does_not_take_fails_with_the_reason(
    world: World, api: Api, method: str, name: str, reason: str
) -> None:
    dataset = await make_dataset(api, chunk_method=method)
    [document] = await parsed(world, api, dataset["id"], (name, b"some words"))
    assert (document["run"], document["progress"]) == ("FAIL", -1)
    assert document["progress_msg"].endswith(f"[ERROR]{reason}")


@pytest.mark.promise("2.8-log-lines", "2.8-task-pages")
async def test_the_log_tells_each_step_in_lines_with_their_time(world: World, api: Api) -> None:
    dataset = await make_dataset(api, parser_config={"task_page_size": 1})
    [document] = await parsed(world, api, dataset["id"], ("a.pdf", make_pdf(chapters=2)))
    lines = document["progress_msg"].split("\n")
    assert all(LOG_LINE.fullmatch(line) for line in lines), lines
    assert lines[0].endswith(" Page(1~100000001): Start to parse.")
    assert any("Page(1~2): " in line for line in lines)
    assert any("Page(2~3): " in line for line in lines)
    assert re.fullmatch(r"\d\d:\d\d:\d\d Task done \(\d+\.\d\ds\)", lines[-1])


@pytest.mark.promise("2.8-no-chunk-cut")
@pytest.mark.parametrize("method", ["naive", "qa", "table", "one", "book", "tag", "knowledge_graph"])
async def test_a_document_without_chunks_is_done_and_says_so(world: World, api: Api, method: str) -> None:
    dataset = await make_dataset(api)
    [made] = await upload(api, dataset["id"], ("empty.txt", b" \n"))
    await api.ok("PUT", f"/datasets/{dataset['id']}/documents/{made['id']}", json={"chunk_method": method})
    await parse(api, dataset["id"], made["id"])
    await world.work()
    document = await shown(api, dataset["id"], made["id"])
    assert (document["run"], document["progress"], document["chunk_count"]) == ("DONE", 1.0, 0)
    assert "No chunk built from empty.txt" in document["progress_msg"]


@pytest.mark.promise("5.1-sections-kept")
@pytest.mark.parametrize(
    ("method", "name", "data", "sections"),
    [
        ("naive", "a.md", b"# One\n\nfirst text\n\n# Two\n\nsecond text", ["One", "Two"]),
        ("qa", "a.md", b"# One\n\nfirst answer\n\n# Two\n\nsecond answer", ["One", "Two"]),
        ("book", "a.md", b"# One\n\nfirst text\n\n# Two\n\nsecond text", ["One"]),
        ("laws", "a.docx", make_docx(), ["Handbook", "Holidays", "Holidays", "Holidays", "Sickness"]),
        ("manual", "a.docx", make_docx(), ["Handbook", "Holidays", "Holidays", "Holidays", "Sickness"]),
        ("one", "a.md", b"# One\n\ntext", ["One"]),
    ],
)
async def test_chunks_name_their_section_and_parsing_again_keeps_both_ids(
    world: World, api: Api, method: str, name: str, data: bytes, sections: list[str]
) -> None:
    dataset = await make_dataset(api, chunk_method=method)
    [document] = await parsed(world, api, dataset["id"], (name, data))
    before = await chunks_of(world, api, document["id"])
    assert [row.section for row in before] == sections
    await parse(api, dataset["id"], document["id"])
    await world.work()
    after = await chunks_of(world, api, document["id"])
    assert [(row.id, row.section_id) for row in after] == [(row.id, row.section_id) for row in before]
    await assert_exact_counters(world, api)


# The pipeline by itself.


def a_document(blob_key: str, **changes: Any) -> Document:
    now = datetime.now(UTC)
    document = Document(
        id=DocumentId("d1"), dataset_id=DatasetId("s1"), tenant_id=TenantId("t1"), name="a.txt", location="a.txt",
        blob_key=blob_key, type="doc", suffix="txt", size_bytes=1, chunk_method="naive", parser_config={},
        created_at=now, updated_at=now,
    )  # fmt: skip
    return replace(document, **changes)


class Reports:
    """A `Report` that keeps what it is told."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, str]] = []

    async def __call__(self, progress: float, text: str) -> None:
        self.heard.append((progress, text))


async def built_from(
    data: bytes, *, enricher: Any = None, reports: Reports | None = None, language: str = "English", **changes: Any
) -> tuple[Built, BlobStore, list[ModelCall], ScriptedEmbeddingModel]:
    blobs = BlobStore.at("memory:///")
    await blobs.put("t1/s1/d1", data)
    config = PipelineConfig(embed_batch=changes.pop("embed_batch", 64))
    pipeline = Pipeline(blobs=blobs, tokens=ApproximateTokenCounter(), enricher=enricher, config=config)
    calls: list[ModelCall] = []
    model = ScriptedEmbeddingModel()
    built = await pipeline.build(
        a_document("t1/s1/d1", size_bytes=len(data), **changes),
        model,
        old_sections=[],
        report=reports or Reports(),
        calls=calls,
        language=language,
    )
    return built, blobs, calls, model


class Describer(PlainEnricher):
    """Describes pictures, and adds to every chunk."""

    async def enrich(self, document: Document, chunks: list[EnrichedChunk], *, report: Report) -> list[EnrichedChunk]:
        await report(0.5, "Half of it.")
        return [
            replace(
                chunk,
                raw=replace(chunk.raw, content=chunk.raw.content or "a red square"),
                important_keywords=("key",),
                questions=("What is it?", "Why?"),
                tag_weights={"art": 3.0},
            )
            for chunk in chunks
        ]


@pytest.mark.promise("5.5-picture", "5.1-images", "5.1-enrichment")
async def test_what_an_enricher_adds_is_stored_and_embedded() -> None:
    reports = Reports()
    picture = make_png(size=(64, 48))
    built, blobs, _, model = await built_from(
        picture, enricher=Describer(), reports=reports, name="a.png", chunk_method="picture"
    )
    [chunk] = built.chunks
    assert (chunk.content, chunk.doc_type, chunk.image_id) == ("a red square", "image", f"s1-{chunk.id}")
    assert (chunk.important_keywords, chunk.questions) == (("key",), ("What is it?", "Why?"))
    assert chunk.tag_weights == {"art": 3.0}
    assert "'key'" in chunk.lexemes
    assert image_size(await blobs.get(f"t1/s1/images/{chunk.id}")) == (64, 48)
    assert model.calls == [("a.png",), ("What is it?\nWhy?",)]
    assert (0.4, "Half of it.") in reports.heard


@pytest.mark.promise("5.5-picture", "2.8-no-chunk-cut")
async def test_a_picture_that_nobody_read_or_described_makes_no_chunk_and_says_so() -> None:
    reports = Reports()
    built, _, _, _ = await built_from(make_png(size=(64, 48)), reports=reports, name="a.png", chunk_method="picture")
    assert built.chunks == []
    assert any("no model described them" in text for _, text in reports.heard)
    assert built.thumbnail == "thumbnail_d1.png"


@pytest.mark.promise("2.8-progress-advances")
async def test_progress_only_grows_and_moves_with_every_batch() -> None:
    reports = Reports()
    text = "\n".join(f"line {number} " + "word " * 20 for number in range(40)).encode()
    built, _, _, _ = await built_from(text, reports=reports, parser_config={"chunk_token_num": 5}, embed_batch=10)
    assert len(built.chunks) == 40
    progress = [done for done, _ in reports.heard]
    assert progress == sorted(progress)
    assert [text for _, text in reports.heard if text.startswith("Embedding chunks: ")] == [
        f"Embedding chunks: {done} of 40." for done in (10, 20, 30)
    ]
    assert len({done for done, text in reports.heard if text.startswith("Embedding")}) == 4


@pytest.mark.promise("2.8-progress-advances")
async def test_progress_that_is_told_late_does_not_go_back(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [made] = await upload(api, dataset_id, ("a.txt", b"words"))
    await parse(api, dataset_id, made["id"])
    async with world.database.unit(api.tenant_id) as unit:
        for progress in (0.5, 0.2):
            await unit.documents.report(DocumentId(made["id"]), progress=progress, line="10:02:11 a line")
    assert (await shown(api, dataset_id, made["id"]))["progress"] == 0.5


@pytest.mark.promise("5.1-language-labels")
@pytest.mark.parametrize(
    ("language", "label"), [("English", "Question: "), ("english", "Question: "), ("Chinese", "问题：")]
)
async def test_the_datasets_language_chooses_the_labels(language: str, label: str) -> None:
    built, _, _, _ = await built_from(b"who\tme", language=language, chunk_method="qa")
    assert built.chunks[0].content.startswith(label)


@pytest.mark.promise("5.1-vector", "5.1-table-tags")
async def test_a_vector_is_the_file_names_and_the_texts_without_table_tags() -> None:
    built, _, calls, model = await built_from(
        make_xlsx({"S": [("a", "b"), ("1", "2")]}),
        name="a.xlsx",
        parser_config={"html4excel": True, "filename_embd_weight": 0.25},
    )
    [chunk] = built.chunks
    assert chunk.content.startswith("<table>")
    text = without_table_tags(chunk.content)
    assert text.split() == ["S", "a", "b", "1", "2"]
    mixed = [0.25 * name + 0.75 * said for name, said in zip(model.vector("a.xlsx"), model.vector(text), strict=True)]
    assert list(chunk.embedding) == pytest.approx([value / math.hypot(*mixed) for value in mixed])
    assert "'tabl'" not in chunk.lexemes
    assert [call.purpose for call in calls] == ["ingest", "ingest"]


@pytest.mark.promise("5.1-name-weight")
@pytest.mark.parametrize(
    ("sent", "share"), [(None, 0.1), (0, 0.1), (0.3, 0.3), (1, 1.0), ("x", 0.1), (True, 0.1), (-1, 0.1), (7, 0.1)]
)
def test_the_name_weighs_a_tenth_unless_told(sent: object, share: float) -> None:
    assert name_share({"filename_embd_weight": sent}) == share
    assert name_share({}) == 0.1


@pytest.mark.promise("5.1-vector")
def test_questions_take_the_place_of_the_content() -> None:
    assert embedded_text("<td>x</td>", ["a?", " ", "b?"]) == "a?\nb?"
    assert embedded_text("<table><tr><td class='k'>x</td></tr></table> a<b", [""]).split() == ["x", "a<b"]


@pytest.mark.promise("5.1-truncated-input")
async def test_a_text_longer_than_a_model_takes_is_cut() -> None:
    model = ScriptedEmbeddingModel()
    tokens = ApproximateTokenCounter()
    embedder = ChunkEmbedder(model, [], tokens=tokens, most_tokens=50)
    await embedder.embed("n", ["short", "long words " * 1000])
    [_, (short, long)] = model.calls
    assert short == "short"
    assert 40 <= tokens.count(long) <= 50

    longest = "long words " * 4000
    _, _, _, told = await built_from(longest.encode(), chunk_method="one")
    assert 7000 < tokens.count(told.calls[1][0]) <= 8192 - 10


@pytest.mark.promise("5.1-chunk-id")
async def test_the_same_text_twice_is_one_chunk() -> None:
    built, _, _, _ = await built_from(b"same words\nsame words\nother", parser_config={"chunk_token_num": 1})
    assert [chunk.content for chunk in built.chunks] == ["same words", "other"]
    ids = [xxhash.xxh64(f"{content}d1".encode()).hexdigest() for content in ("same words", "other")]
    assert [chunk.id for chunk in built.chunks] == ids
    elsewhere, _, _, _ = await built_from(b"same words", id=DocumentId("d2"), parser_config={"chunk_token_num": 1})
    assert elsewhere.chunks[0].id == xxhash.xxh64(b"same wordsd2").hexdigest()
