import io
import os
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import anyio
import psutil
import pytest
from PIL import Image
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

from app.domain.documents import ParsedDocument, ParseFailed
from app.ingest.caps import OcrCaps, ParseCaps, ParseHints, PictureCaps
from app.ingest.parsers import parse
from app.ingest.sandbox import SandboxLimits, parse_in_child
from tests.ingest.files import make_pdf
from tests.ingest.office_files import make_epub, make_odp, make_odt, make_png, make_pptx, make_rich_docx

WORDS = "Refunds within thirty days"


@pytest.fixture
def no_ocr(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))


def stand_in(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Put a shell script before any `tesseract` that is installed."""
    program = tmp_path / "bin" / "tesseract"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nif [ "$1" = --list-langs ]; then echo "List (2):"; echo eng; exit; fi\n{script}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def scanned(*pages: str) -> bytes:
    """A PDF: a page that is a picture for each text, a page of words for an empty one."""
    file = io.BytesIO()
    canvas = Canvas(file)
    for text in pages:
        if text:
            canvas.drawImage(ImageReader(io.BytesIO(make_png(text, (700, 160)))), 50, 500, 500, 114)
        else:
            canvas.drawString(72, 700, "A page with words on it.")
        canvas.showPage()
    canvas.save()
    return file.getvalue()


def texts(document: ParsedDocument) -> list[tuple[int | None, str]]:
    return [(block.page, block.text) for block in document.blocks]


def image(kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (80, 40), "red").save(file, kind, **options)
    return file.getvalue()


@pytest.mark.promise("5.5-picture-read", "2.1-thumbnail-made")
@pytest.mark.parametrize(
    ("suffix", "kind"),
    [("png", "PNG"), ("jpg", "JPEG"), ("jpeg", "JPEG"), ("gif", "GIF"), ("tif", "TIFF"), ("webp", "WEBP"),
     ("avif", "AVIF"), ("ico", "ICO"), ("icon", "ICO"), ("pcx", "PCX"), ("tga", "TGA"), ("apng", "PNG")],
)  # fmt: skip
def test_images_are_kept_with_a_thumbnail(no_ocr: None, suffix: str, kind: str) -> None:
    document = parse(image(kind), f"a.{suffix}")
    assert [(block.kind, block.picture) for block in document.blocks] == [("image", 0)]
    assert document.pictures[0].data.startswith(b"\x89PNG")
    assert (document.thumbnail or b"").startswith(b"\x89PNG")
    held = Image.open(io.BytesIO(document.pictures[0].data))
    assert Image.open(io.BytesIO(document.thumbnail or b"")).size == held.size


def test_pictures_are_made_smaller_and_lose_what_their_makers_left(no_ocr: None) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a secret place"
    exif[0x0112] = 6  # lying on its side
    file = io.BytesIO()
    Image.effect_noise((4000, 1000), 50).convert("RGB").save(file, "JPEG", exif=exif)
    document = parse(file.getvalue(), "a.jpg", ParseCaps(pictures=PictureCaps(side_px=800)))
    (picture,) = document.pictures
    assert Image.open(io.BytesIO(picture.data)).size == (200, 800)
    assert Image.open(io.BytesIO(document.thumbnail or b"")).size == (64, 256)
    assert b"secret" not in picture.data


@pytest.mark.promise("5.5-picture-read", "issue3-ocr")
def test_without_a_program_for_ocr_an_image_is_kept_and_the_log_says_why(no_ocr: None) -> None:
    document = parse(make_png(WORDS), "a.png")
    assert texts(document) == [(None, "")]
    assert "needs the program `tesseract`, which is not installed" in document.notes[0]


@pytest.mark.promise("issue3-ocr")
def test_without_a_program_for_ocr_a_scan_is_refused_and_a_mixed_file_read_in_part(no_ocr: None) -> None:
    with pytest.raises(ParseFailed, match=r"its 2 pages look scanned, and reading pictures \(OCR\) needs the program"):
        parse(scanned("one", "two"), "a.pdf")
    document = parse(scanned("one", ""), "a.pdf")
    assert texts(document) == [(2, "A page with words on it.")]
    assert document.notes[0].startswith("Page 1 looks scanned and was not read: reading pictures (OCR) needs")


@pytest.mark.promise("issue3-ocr", "5.5-picture-read")
def test_what_the_program_reads_is_the_text(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, 'echo "args: $*"; head -c 2')
    expected = "args: stdin stdout -l eng\nP5"
    assert texts(parse(make_png(WORDS), "a.png")) == [(None, expected)]
    assert texts(parse(scanned("one", ""), "a.pdf")) == [(1, expected), (2, "A page with words on it.")]


@pytest.mark.promise("issue3-ocr", "issue3-limits")
def test_ocr_stops_at_its_caps_and_says_what_was_left(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, "cat >/dev/null; echo read")
    left = "look scanned and were not read: the time or number of pages for OCR was used up."
    document = parse(scanned("1", "2", "3"), "a.pdf", ParseCaps(ocr=OcrCaps(pages=1)))
    assert texts(document) == [(1, "read")]
    assert document.notes == (f"Pages 2, 3 {left}",)
    late = parse(scanned("1", "2", ""), "a.pdf", ParseCaps(ocr=OcrCaps(total_s=0.0)))
    assert texts(late) == [(3, "A page with words on it.")]
    assert late.notes == (f"Pages 1, 2 {left}",)


@pytest.mark.promise("issue3-ocr", "issue3-limits")
@pytest.mark.parametrize("script", ["exec sleep 60", "cat >/dev/null; exit 1", "kill -SEGV $$"])
def test_a_program_that_hangs_or_fails_costs_its_page_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str
) -> None:
    stand_in(monkeypatch, tmp_path, script)
    document = parse(scanned("1", ""), "a.pdf", ParseCaps(ocr=OcrCaps(page_s=0.3)))
    assert texts(document) == [(2, "A page with words on it.")]
    assert document.notes == ("Page 1 looks scanned and was not read: OCR failed.",)


@pytest.mark.promise("issue3-ocr")
def test_ocr_can_be_switched_off(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand_in(monkeypatch, tmp_path, "echo read")
    document = parse(make_png(WORDS), "a.png", None, ParseHints(ocr=False))
    assert texts(document) == [(None, "")]
    with pytest.raises(ParseFailed, match=r"reading pictures \(OCR\) is switched off"):
        parse(scanned("one"), "a.pdf", None, ParseHints(ocr=False))


@pytest.mark.promise("issue3-worker-lives")
async def test_the_program_dies_with_the_parse(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    seconds = f"60.{os.getpid()}"
    stand_in(monkeypatch, tmp_path, f"exec sleep {seconds}")
    path = tmp_path / "blob"
    path.write_bytes(make_png(WORDS))
    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_expect_timeout, path)
            while not _sleeping(seconds):  # noqa: ASYNC110 - another process
                await anyio.sleep(0.01)
        while _sleeping(seconds):  # noqa: ASYNC110 - another process
            await anyio.sleep(0.01)
    assert not _sleeping(seconds)


async def _expect_timeout(path: Path) -> None:
    with pytest.raises(ParseFailed, match="took longer than 3 s"):
        await parse_in_child(path, "a.png", SandboxLimits(wall_s=3))


def _sleeping(seconds: str) -> bool:
    for process in psutil.process_iter(["cmdline", "status"]):
        if process.info["cmdline"] == ["sleep", seconds] and process.info["status"] != psutil.STATUS_ZOMBIE:
            return True
    return False


@pytest.mark.promise("issue3-ocr")
@pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")
async def test_the_real_program_reads_a_scan(tmp_path: Path) -> None:
    path = tmp_path / "blob"
    path.write_bytes(scanned(WORDS))
    assert WORDS in (await parse_in_child(path, "a.pdf")).markdown


@pytest.mark.promise("5.4-pdf-layout")
@pytest.mark.parametrize("layout", ["Plain Text", "plain text"])
def test_plain_text_takes_the_lines_of_the_text_layer(layout: str) -> None:
    document = parse(make_pdf(chapters=2), "a.pdf", None, ParseHints(layout=layout))
    assert {block.kind for block in document.blocks} == {"plain"}
    assert [block.page for block in document.blocks] == [1, 2]
    assert document.blocks[0].text.startswith("Chapter 0 of the guide\n")
    with pytest.raises(ParseFailed, match="the layout `Plain Text` reads the text layer only"):
        parse(scanned("one"), "a.pdf", None, ParseHints(layout=layout))


@pytest.mark.promise("5.4-pdf-pages")
@pytest.mark.parametrize(
    ("ranges", "read"),
    [
        (((1, 1_000_000),), [1, 2, 3, 4]),
        (((2, 3),), [2, 3]),
        (((4, 4), (1, 1)), [1, 4]),
        (((3, 9),), [3, 4]),
    ],
)
@pytest.mark.parametrize("layout", ["DeepDOC", "Plain Text"])
def test_chosen_pages_are_read_under_their_own_numbers(
    ranges: tuple[tuple[int, int], ...], read: list[int], layout: str
) -> None:
    document = parse(make_pdf(chapters=4), "a.pdf", None, ParseHints(pages=ranges, layout=layout))
    assert sorted({block.page for block in document.blocks if block.page}) == read
    for block in document.blocks:
        if "Details about part" in block.text and block.page:
            assert f"part {block.page - 1}" in block.text
    assert document.pages == 4


@pytest.mark.promise("5.4-pdf-pages")
def test_pages_that_are_not_there_are_told() -> None:
    with pytest.raises(ParseFailed, match="has 2 pages; none of them is among those chosen"):
        parse(make_pdf(chapters=2), "a.pdf", None, ParseHints(pages=((7, 9),)))


@pytest.mark.promise("5.4-pdf-pages", "issue3-limits")
def test_a_file_with_too_many_pages_can_be_read_in_part() -> None:
    caps = ParseCaps(pages=2)
    document = parse(make_pdf(chapters=4), "a.pdf", caps, ParseHints(pages=((1, 2),)))
    assert {block.page for block in document.blocks} == {1, 2}


@pytest.mark.promise("5.5-presentation-read", "2.1-thumbnail-made")
def test_pages_are_drawn_when_asked_for(no_ocr: None) -> None:
    document = parse(scanned("one", ""), "a.pdf", None, ParseHints(method="presentation", page_pictures=True))
    assert [(block.page, block.kind, block.picture, block.text) for block in document.blocks] == [
        (1, "image", 0, ""),
        (2, "image", 1, ""),
        (2, "text", None, "A page with words on it."),
    ]
    assert [picture.media_type for picture in document.pictures] == ["image/jpeg"] * 2
    assert (document.thumbnail or b"").startswith(b"\x89PNG")
    plain = parse(make_pdf(chapters=1), "a.pdf")
    assert plain.pictures == ()
    assert max(Image.open(io.BytesIO(plain.thumbnail or b"")).size) == 256
    assert parse(make_pdf(chapters=1), "a.pdf", None, ParseHints(layout="Plain Text")).thumbnail == plain.thumbnail


@pytest.mark.promise("issue3-limits", "5.4-pdf-layout")
def test_a_pdf_whose_layout_takes_too_long_gives_its_text_layer() -> None:
    long = make_pdf(chapters=1500, has_table=True)
    document = parse(long, "a.pdf", ParseCaps(timeout_s=1))
    assert document.notes == ("a.pdf is too long for its layout to be read: tables and type sizes were not looked at.",)
    assert {block.kind for block in document.blocks} == {"plain"}
    assert len({block.page for block in document.blocks}) == 1500


def illustrated_epub(picture: bytes) -> bytes:
    """A book with the picture in both chapters."""
    return make_epub([(title, "See:</p><img src='i.png'/><p>So.") for title in ("Start", "End")], picture)


@pytest.mark.promise("issue3-ocr-inside")
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("a.docx", make_rich_docx),
        ("a.pptx", make_pptx),
        ("a.odt", make_odt),
        ("a.odp", make_odp),
        ("a.epub", illustrated_epub),
    ],
    ids=["docx", "pptx", "odt", "odp", "epub"],
)
def test_pictures_inside_documents_are_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, make: Callable[[bytes], bytes]
) -> None:
    data = make(make_png("x", (400, 120)))
    stand_in(monkeypatch, tmp_path, f"cat > /dev/null; echo {WORDS}; echo once >> {tmp_path}/asked")
    document = parse(data, name)
    assert sum(WORDS in block.text for block in document.blocks) >= 1, document.blocks
    assert (tmp_path / "asked").read_text().count("once") == len(document.pictures) == 1
    assert not any(WORDS in block.text for block in parse(data, name, None, ParseHints(ocr=False)).blocks)


def test_pictures_of_a_book_stand_behind_what_they_are_in() -> None:
    inline = "One <img src='i.png' alt='A map'/> two.</p><ul><li>item <img src='../OPS/i.png#top'/></li></ul>"
    drawn = "<p><svg><image xlink:href='i.png'/></svg><img src='gone.png' alt='lost'/><img src='data:x' alt='too'/>"
    document = parse(
        make_epub([("Start", inline + drawn)], make_png("x", (400, 120))), "a.epub", None, ParseHints(ocr=False)
    )
    assert [(block.kind, block.text, block.picture) for block in document.blocks] == [
        ("heading", "Start", None),
        ("text", "One two.", None),
        ("image", "A map", 0),
        ("list", "- item", None),
        ("image", "", 0),
        ("text", "lost too", None),
        ("image", "", 0),
    ]
    assert len(document.pictures) == 1
    damaged = parse(make_epub([("Start", inline)], b"no picture"), "a.epub")
    assert [block.kind for block in damaged.blocks] == ["heading", "text", "list"]
    assert "1 pictures are damaged" in damaged.notes[0]


@pytest.mark.promise("issue3-ocr-inside")
@pytest.mark.parametrize(
    ("script", "size", "notes"),
    [
        ("cat > /dev/null; echo I l", (400, 120), 0),
        ("exit 1", (400, 120), 1),
        (f"cat > /dev/null; echo {WORDS}", (400, 40), 0),
    ],
    ids=["noise", "fails", "icon"],
)
def test_what_is_no_text_on_pictures_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, size: tuple[int, int], notes: int
) -> None:
    data = make_rich_docx(make_png("", size))
    plain = parse(data, "a.docx", None, ParseHints(ocr=False))
    stand_in(monkeypatch, tmp_path, script)
    document = parse(data, "a.docx")
    assert document.blocks == plain.blocks
    assert len(document.notes) - len(plain.notes) == notes
