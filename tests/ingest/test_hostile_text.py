"""Text that costs a careless cutter hours: what cuts runs in the worker itself, beside its heartbeat.

Each text took minutes to days before; the bound is loose, so that a busy machine passes.
"""

import time
from collections.abc import Callable

import anyio
import pytest

from app.domain.datasets import StoredSection
from app.domain.documents import Block, OutlineSection, ParsedDocument, ParseFailed
from app.domain.ids import SectionId
from app.ingest.blobs import BlobStore
from app.ingest.chunking import NaiveConfig, chunk_naive
from app.ingest.cutting import cut
from app.ingest.delimiters import parse_delimiters
from app.ingest.markdown_blocks import markdown_blocks, split_front_matter
from app.ingest.methods.base import Source
from app.ingest.methods.qa import qa
from app.ingest.methods.structured import book
from app.ingest.outline import outline
from app.ingest.parser_config import CutSettings
from app.ingest.pipeline import Pipeline, PipelineConfig
from app.ingest.section_ids import match_sections
from app.ingest.tables import pipe_rows
from app.llm.scripted import ScriptedEmbeddingModel
from app.llm.tokens import ApproximateTokenCounter
from tests.knowledge.test_chunk_methods import Reports, a_document

WITHIN_S = 8.0
N = 300_000
count = ApproximateTokenCounter().count


def source(text: str, filename: str, *, kind: str = "plain") -> Source:
    block = Block(kind="plain" if kind == "plain" else "table", text=text)
    document = ParsedDocument(blocks=(block,))
    sections = outline(document, filename)
    return Source(document=document, filename=filename, sections=sections, settings=CutSettings(), count=count)


TEXTS: dict[str, Callable[[], object]] = {
    "dots": lambda: cut("." * N + "x", 100, count),
    "dots and quotes": lambda: cut(("." + '"' * 40) * (N // 40) + "x", 100, count),
    "blanks between dots": lambda: cut(". " * N, 100, count),
    "a word without end": lambda: cut("x" * N, 100, count),
    "blanks": lambda: cut(" " * N + "x", 100, count),
    "a rule of a table that is none": lambda: pipe_rows("|a|\n|---" + " " * N + "x"),
    "blanks before no rule": lambda: pipe_rows("|a|\n" + " " * N + "x"),
    "a table of one rule": lambda: pipe_rows("|a|\n" + "|---" * N + "x"),
    "dotted leaders": lambda: book(source("\n".join(["Chapter " + "." * N + "x"] * 3), "a.txt")),
    "leaders and blanks": lambda: book(source("\n".join(["1. " + "." * 2000 + " " * N + "x"] * 3), "a.txt")),
    "a question mark far away": lambda: qa(source("question" + " " * N + "x", "a.pdf")),
    "ten thousand delimiters": lambda: parse_delimiters("".join(f"`{n}x`" for n in range(10_000))).split("y" * N),
    "a heading of blanks": lambda: markdown_blocks("# a" + " " * N + "b"),
    "a markdown rule that is none": lambda: markdown_blocks("|a|\n|" + " " * N + "x"),
    "tables without end": lambda: markdown_blocks("<table>\n" * (N // 10)),
    "a title of blanks": lambda: split_front_matter("---\ntitle: a" + " " * N + "\x00b\n---\n"),
    "one section": lambda: chunk_naive(
        outline(ParsedDocument(blocks=(Block(kind="text", text="!" * N),)), "a"), NaiveConfig(), count
    ),
}


@pytest.mark.promise("issue3-hostile-files", "issue3-worker-lives")
@pytest.mark.parametrize("name", TEXTS)
def test_text_is_cut_in_time_that_grows_with_its_length(name: str) -> None:
    begun = time.process_time()
    TEXTS[name]()
    assert time.process_time() - begun < WITHIN_S


@pytest.mark.promise("issue3-hostile-files")
def test_sections_of_many_words_are_told_apart_in_time() -> None:
    words = " ".join(map(str, range(20_000)))
    old = [
        StoredSection(
            id=SectionId(f"s{n}"),
            position=n,
            level=1,
            title=f"o{n}",
            path=(f"o{n}",),
            parent_id=None,
            content=f"{n} {words}",
        )
        for n in range(100)
    ]
    new = [
        OutlineSection(
            order=n, level=1, title=f"n{n}", path=(f"n{n}",), parent_order=None,
            blocks=(Block(kind="text", text=f"{n} {words}"),),
        )
        for n in range(100)
    ]  # fmt: skip
    begun = time.process_time()
    assert len(match_sections(old, new)) == 100
    assert time.process_time() - begun < WITHIN_S


@pytest.mark.promise("issue3-limits", "issue3-worker-lives")
async def test_a_document_that_takes_too_long_to_cut_fails_and_the_next_one_is_taken() -> None:
    blobs = BlobStore.at("memory:///")
    await blobs.put("t1/s1/d1", b"some words")

    async def built(config: PipelineConfig) -> int:
        pipeline = Pipeline(blobs=blobs, tokens=ApproximateTokenCounter(), config=config)
        made = await pipeline.build(
            a_document("t1/s1/d1", size_bytes=10), ScriptedEmbeddingModel(), old_sections=[], report=Reports(), calls=[]
        )
        return len(made.chunks)

    with anyio.fail_after(30):
        with pytest.raises(ParseFailed, match="took longer than 0 s to cut"):
            await built(PipelineConfig(cut_s=0.0))
        assert await built(PipelineConfig()) == 1
