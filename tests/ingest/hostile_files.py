"""Files made to break a parser."""

import io
import struct
import zipfile
import zlib

import pypdfium2
from PIL import Image
from reportlab.pdfgen.canvas import Canvas

from tests.ingest.files import make_zip
from tests.ingest.office_files import make_epub, make_odf, make_png, make_rich_docx, make_xlsx, word_xml

BOMB = b"0" * 200_000_000
LAUGHS = b"""<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a0 "lol">%s]><lolz>&a40;</lolz>""" % b"".join(
    b'<!ENTITY a%d "&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;&a%d;">' % (n, *[n - 1] * 8) for n in range(1, 41)
)
OUTSIDE = b"""<?xml version="1.0"?><!DOCTYPE a [<!ENTITY x SYSTEM "file:///etc/passwd">]><a>before &x; after</a>"""
DEPTH = 100_000


def docx_with(document: bytes) -> bytes:
    return make_zip({"[Content_Types].xml": b"<Types/>", "word/document.xml": document})


def lying_zip() -> bytes:
    """A zip whose directory says that the bomb is small."""
    data = bytearray(docx_with(BOMB))
    size = struct.pack("<I", len(BOMB))
    while (at := data.find(size)) >= 0:
        data[at : at + 4] = struct.pack("<I", 5000)
    return bytes(data)


def many_pages(count: int = 10_000) -> bytes:
    document = pypdfium2.PdfDocument.new()
    for _ in range(count):
        document.new_page(100, 100)
    file = io.BytesIO()
    document.save(file)
    document.close()
    return file.getvalue()


def bombed_stream() -> bytes:
    """A PDF whose page content unpacks to a gigabyte, packed twice."""
    packed = zlib.compress(zlib.compress(b"0 0 m " * 180_000_000, 1), 9)
    return _pdf(b"<< /Length %d /Filter [/FlateDecode /FlateDecode] >>" % len(packed), packed)


def _pdf(head: bytes, stream: bytes) -> bytes:
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 200 200] /Contents 4 0 R >>",
        head + b"\nstream\n" + stream + b"\nendstream",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    return data + b"xref\n0 5\n0000000000 65535 f \n%strailer << /Size 5 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % (
        rows, len(data),
    )  # fmt: skip


def huge_header_png() -> bytes:
    """A PNG that says it is 100,000 pixels wide and high."""
    head = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head)) + b"IHDR" + head + struct.pack(">I", zlib.crc32(b"IHDR" + head))
    return b"\x89PNG\r\n\x1a\n" + chunk + make_png()[33:]


def far_cell_xlsx() -> bytes:
    """A sheet of two cells, in its first corner and in its last."""
    data = make_xlsx({"S": [["a"], ["z"]]})
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    sheet = "xl/worksheets/sheet0.xml"
    entries[sheet] = entries[sheet].replace(b'r="A2"', b'r="XFD1048576"').replace(b'<row r="2"', b'<row r="1048576"')
    return make_zip(entries)


def scribbled_pdf(lines: int = 300_000) -> bytes:
    """A page with more strokes than anybody draws."""
    file = io.BytesIO()
    canvas = Canvas(file, pageCompression=1)
    canvas.drawString(72, 720, "There is one line of text.")
    path = canvas.beginPath()
    for n in range(lines):
        path.moveTo(n % 500, n % 700)
        path.lineTo((n * 7) % 500, (n * 3) % 700)
    canvas.drawPath(path)
    canvas.save()
    return file.getvalue()


def deep(opening: bytes, closing: bytes, inside: bytes = b"text") -> bytes:
    return opening * DEPTH + inside + closing * DEPTH


def boxes(depth: int) -> str:
    """Text boxes, each in the one before: walked once each, or twice as often with every box."""
    opening, closing = "<w:p><w:r><w:pict><w:txbxContent>", "</w:txbxContent></w:pict></w:r></w:p>"
    return opening * depth + "<w:p><w:r><w:t>innermost</w:t></w:r></w:p>" + closing * depth


def repeated_epub() -> bytes:
    """A book that names one long chapter again and again."""
    with zipfile.ZipFile(io.BytesIO(make_epub([("Start", "It begins. " * 20_000)]))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    reference = b'<itemref idref="c0"/>'
    entries["OPS/p.opf"] = entries["OPS/p.opf"].replace(reference, reference * 20_000)
    return make_zip(entries)


def bzipped_docx() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("word/document.xml", b"0" * 1_000_000)
    return file.getvalue()


def uneven_tiff() -> bytes:
    """A small first page; the second says it is larger than any is read."""
    file = io.BytesIO()
    page = Image.new("1", (64, 64))
    page.save(file, "TIFF", save_all=True, append_images=[Image.new("1", (20_000, 20_000))], compression="group4")
    return file.getvalue()


def hostile() -> dict[str, tuple[str, bytes, str]]:
    """By name: (filename, data, what the refusal says; empty where the file is to be read)."""
    docx = make_rich_docx(make_png())
    return {
        "zip bomb as docx": ("a.docx", docx_with(BOMB), "archive bomb"),
        "zip bomb as xlsx": ("a.xlsx", make_zip({"xl/workbook.xml": BOMB}), "archive bomb"),
        "zip bomb as odt": ("a.odt", make_zip({"content.xml": BOMB}), "archive bomb"),
        "zip bomb as epub": ("a.epub", make_zip({"META-INF/container.xml": BOMB}), "archive bomb"),
        "zip bomb as pptx": ("a.pptx", make_zip({"ppt/presentation.xml": BOMB}), "archive bomb"),
        "zip that lies about its size": ("a.docx", lying_zip(), "damaged"),
        "a hundred thousand parts": ("a.docx", make_zip({f"{n}": b"" for n in range(20_000)}), "at most 10000"),
        "path names in the archive": ("a.docx", make_zip({"word/document.xml": b"<x/>", "../../etc/x": b""}), "unsafe"),
        "billion laughs in docx": ("a.docx", docx_with(LAUGHS), "entities"),
        "billion laughs in xml": ("a.xml", LAUGHS, ""),
        "outside entity": ("a.xml", OUTSIDE, ""),
        "billion laughs in svg": ("a.svg", LAUGHS, ""),
        "deep docx": ("a.docx", docx_with(word_xml(deep(b"<w:p>", b"</w:p>").decode())), "deeper than"),
        "deep odt": ("a.odt", make_odf(deep(b"<text:p>", b"</text:p>").decode()), "deeper than"),
        "deep xml": ("a.xml", deep(b"<a>", b"</a>"), ""),
        "deep html": ("a.html", deep(b"<div><ul><li>", b"</li></ul></div>"), ""),
        "deep tables in html": ("a.html", deep(b"<table><tr><td>", b"</td></tr></table>"), ""),
        "deep json": ("a.json", deep(b"[", b"]", b"1"), ""),
        "deep markdown": ("a.md", deep(b"> ", b"") + b"\n\n" + deep(b"- ", b""), ""),
        "deep mail": ("a.eml", _deep_mail(), "damaged"),
        "10,000-page pdf": ("a.pdf", many_pages(), "has 10000 pages; at most 5000 are read"),
        "packed bomb in a pdf": ("a.pdf", bombed_stream(), "memory|no text|computing|took longer"),
        "a pdf full of strokes": ("a.pdf", scribbled_pdf(), ""),
        "a picture called pdf": ("a.pdf", make_png(), "not a PDF"),
        "a program called txt": ("a.txt", b"MZ\x90\0" + bytes(range(256)) * 50, "not a text file"),
        "a text called docx": ("a.docx", b"just text", "damaged"),
        "a text called png": ("a.png", b"just text", "damaged"),
        "a pdf called docx": ("a.docx", b"%PDF-1.4 ...", "damaged"),
        "a text called msg": ("a.msg", b"\x01\x02", "damaged"),
        "macros": ("a.docx", make_rich_docx(make_png(), macros=True), ""),
        "one line of 100 MB": ("a.csv", b"x" * 100_000_000, ""),
        "a million columns": ("a.csv", b",".join([b"c"] * 1_000_000) + b"\n" + b",".join([b"1"] * 1_000_000), ""),
        "a quote that never ends": ("a.csv", b'a,b\n"' + b"1,2\n" * 50_000, ""),
        "more cells than are read": ("a.csv", b"1,1,1,1,1,1,1,1,1,1\n" * 500_000, "more than 4000000 cells"),
        "a cell in the far corner": ("a.xlsx", far_cell_xlsx(), "memory|cells"),
        "a picture of 100,000 x 100,000": ("a.png", huge_header_png(), "100000 x 100000 pixels"),
        "that picture in a docx": ("a.docx", make_rich_docx(huge_header_png()), ""),
        "cut docx": ("a.docx", docx[:-200], "damaged"),
        "docx with a flipped bit": ("a.docx", docx[:900] + bytes([docx[900] ^ 255]) + docx[901:], "damaged"),
        "boxes in boxes": ("a.docx", docx_with(word_xml(boxes(40))), ""),
        "a chapter read a thousand times": ("a.epub", repeated_epub(), ""),
        "a part packed by bzip2": ("a.docx", bzipped_docx(), "packed in a way"),
        "a tiff with one huge page": ("a.tif", uneven_tiff(), "pixels large"),
        "lists in lists": ("a.html", b"<ul><li>x" * 20_000, ""),
        "unclosed comments": ("a.html", b"<!--" * 100_000 + b"text", ""),
        "unclosed tags": ("a.html", b"<a b='" * 100_000 + b"text", ""),
        "entities without end": ("a.html", b"&#" * 500_000, ""),
    }


def _deep_mail() -> bytes:
    parts = (b'Content-Type: multipart/mixed; boundary="b%d"\n\n--b%d\n' % (n, n) for n in range(3000))
    return b"Subject: deep\n" + b"".join(parts) + b"\ntext"
