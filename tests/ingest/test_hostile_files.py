import functools
from pathlib import Path

import anyio
import psutil
import pytest

from app.domain.documents import ParsedDocument, ParseFailed
from app.ingest.caps import ParseCaps, PictureCaps
from app.ingest.sandbox import SandboxLimits, parse_in_child
from tests.ingest.files import make_docx, make_pdf
from tests.ingest.hostile_files import hostile
from tests.ingest.office_files import (
    make_doc,
    make_eml,
    make_epub,
    make_odt,
    make_png,
    make_ppt,
    make_pptx,
    make_xls,
    make_xlsx,
)
from tests.ingest.ole_files import make_msg
from tests.processes import command_of

LIMITS = SandboxLimits(wall_s=60, cpu_s=40, memory_bytes=2 * 1024**3)
all_hostile = functools.cache(hostile)
NAMES = """zip bomb as docx|zip bomb as xlsx|zip bomb as odt|zip bomb as epub|zip bomb as pptx
zip that lies about its size|a hundred thousand parts|path names in the archive|billion laughs in docx
billion laughs in xml|outside entity|billion laughs in svg|deep docx|deep odt|deep xml|deep html|deep tables in html
deep json|deep markdown|deep mail|10,000-page pdf|packed bomb in a pdf|a pdf full of strokes|a picture called pdf
a program called txt|a text called docx|a text called png|a pdf called docx|a text called msg|macros
one line of 100 MB|a million columns|a quote that never ends|more cells than are read|a cell in the far corner
a picture of 100,000 x 100,000|that picture in a docx|cut docx|docx with a flipped bit|unclosed comments
unclosed tags|entities without end|boxes in boxes|a chapter read a thousand times|a part packed by bzip2
a tiff with one huge page|lists in lists""".replace("\n", "|").split("|")


async def read(tmp_path: Path, filename: str, data: bytes, limits: SandboxLimits = LIMITS) -> ParsedDocument:
    path = tmp_path / "blob"
    path.write_bytes(data)
    return await parse_in_child(path, filename, limits)


def test_every_hostile_file_is_tried() -> None:
    assert sorted(NAMES) == sorted(all_hostile())


@pytest.mark.promise("issue3-hostile-files", "issue3-worker-lives")
@pytest.mark.parametrize("name", NAMES)
async def test_a_hostile_file_harms_nobody(tmp_path: Path, name: str) -> None:
    filename, data, says = all_hostile()[name]
    with anyio.fail_after(100):
        if says:
            with pytest.raises(ParseFailed, match=says) as failure:
                await read(tmp_path, filename, data)
            assert filename in failure.value.message or "PDF" in failure.value.message
            assert "Traceback" not in failure.value.message
        else:
            document = await read(tmp_path, filename, data)
            assert "root:" not in document.markdown
        assert not psutil.Process().children(recursive=True) or _none_parses()
        assert (await read(tmp_path, "next.txt", b"The next file.")).markdown == "The next file."


def _none_parses() -> bool:
    commands = [command_of(child) for child in psutil.Process().children(recursive=True)]
    return not any("parse_child" in command for command in commands)


@pytest.mark.promise("issue3-hostile-files")
async def test_entities_of_strangers_are_neither_fetched_nor_multiplied(tmp_path: Path) -> None:
    for name in ("billion laughs in xml", "outside entity"):
        filename, data, _ = all_hostile()[name]
        assert len((await read(tmp_path, filename, data)).markdown) < 20_000


@pytest.mark.promise("issue3-hostile-files")
async def test_macros_are_neither_run_nor_read(tmp_path: Path) -> None:
    filename, data, _ = all_hostile()["macros"]
    document = await read(tmp_path, filename, data)
    assert "Scope" in document.markdown
    assert "AutoOpen" not in document.markdown


@pytest.mark.promise("issue3-hostile-files")
async def test_a_picture_that_is_too_large_costs_a_document_only_itself(tmp_path: Path) -> None:
    filename, data, _ = all_hostile()["that picture in a docx"]
    document = await read(tmp_path, filename, data)
    assert document.pictures == ()
    assert any("pictures are damaged or of a kind that is not read" in note for note in document.notes)


@pytest.mark.promise("issue3-hostile-files")
async def test_the_longest_name_there_is_is_read(tmp_path: Path) -> None:
    name = "é" * 63 + "🙂" * 31 + ".md"
    assert len(name.encode()) == 253
    name = "xx" + name
    assert (await read(tmp_path, name, b"# Title")).markdown == "# Title"
    with pytest.raises(ParseFailed, match=r"🙂\.pdf"):
        await read(tmp_path, name[:-2] + "pdf", b"no pdf")


@pytest.mark.promise("issue3-hostile-files")
@pytest.mark.parametrize(
    ("filename", "data"),
    [
        ("a.pdf", make_pdf()), ("a.docx", make_docx()), ("a.pptx", make_pptx(make_png())), ("a.odt", make_odt(b"")),
        ("a.xlsx", make_xlsx({"S": [["a", 1]]})), ("a.xls", make_xls([["a", 1.0]])), ("a.epub", make_epub()),
        ("a.doc", make_doc("Some words.")), ("a.ppt", make_ppt([["Some words"]])), ("a.msg", make_msg()),
        ("a.eml", make_eml()), ("a.png", make_png("text")), ("a.rtf", rb"{\rtf1 Some words in it.}"),
        ("a.json", b'{"a": [1, 2, 3]}'), ("a.xml", b"<a><b>Some words</b></a>"),
        ("a.html", b"<table><tr><td>a<td>b<tr><td>c<td>d</table>"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.9])
async def test_a_file_cut_short_is_refused_or_read_as_far_as_it_goes(
    tmp_path: Path, filename: str, data: bytes, kept: float
) -> None:
    with anyio.fail_after(60):
        try:
            document = await read(tmp_path, filename, data[: int(len(data) * kept)])
        except ParseFailed as failure:
            assert failure.message  # noqa: PT017 - both ends are right
            assert "crashed the parser" not in failure.message  # noqa: PT017
        else:
            assert isinstance(document, ParsedDocument)


@pytest.mark.promise("issue3-limits", "issue3-worker-lives")
async def test_a_document_that_needs_too_much_memory_fails_alone(tmp_path: Path) -> None:
    tight = SandboxLimits(memory_bytes=200 * 1024**2)
    with pytest.raises(ParseFailed, match="more memory"):
        await read(tmp_path, "a.csv", b"".join(b"%d;%d\n" % (n, n * 7) for n in range(900_000)), tight)
    assert (await read(tmp_path, "b.csv", b"a,b\n", tight)).blocks[0].rows == (("a", "b"),)


@pytest.mark.promise("issue3-limits", "issue3-worker-lives")
async def test_a_document_that_computes_too_long_fails_alone(tmp_path: Path) -> None:
    tight = SandboxLimits(cpu_s=1)
    with pytest.raises(ParseFailed, match="too much computing"):
        await read(tmp_path, "a.html", b"<p>one <b>two</b></p>" * 1_000_000, tight)
    assert (await read(tmp_path, "b.html", b"<p>one", tight)).markdown == "one"


@pytest.mark.promise("issue3-limits")
async def test_caps_of_pages_size_and_pixels_are_honoured(tmp_path: Path) -> None:
    caps = ParseCaps(pages=1, size_bytes=5000, pictures=PictureCaps(pixels=100))
    with pytest.raises(ParseFailed, match="has 3 pages; at most 1 are read"):
        await read(tmp_path, "a.pdf", make_pdf(), SandboxLimits(caps=ParseCaps(pages=1)))
    with pytest.raises(ParseFailed, match="has 2 slides; at most 1 are read"):
        await read(tmp_path, "a.pptx", make_pptx(make_png()), SandboxLimits(caps=caps))
    with pytest.raises(ParseFailed, match="400 x 120 pixels"):
        await read(tmp_path, "a.png", make_png(), SandboxLimits(caps=caps))
    with pytest.raises(ParseFailed, match="File size exceeds"):
        await read(tmp_path, "a.txt", b"x" * 5001, SandboxLimits(caps=caps))
