"""Office, OpenDocument and EPUB files, mail and images, written on the spot from their own XML."""

import io
import struct
from collections.abc import Sequence
from email.message import EmailMessage

from PIL import Image, ImageDraw, ImageFont

from tests.ingest.files import make_zip
from tests.ingest.ole_files import make_ole

_XML = '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>'
_R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_W = f'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:r="{_R}" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:wp="http://schemas.openxmlformats.org/drawingml/2006/wordprocessingDrawing"'  # noqa: E501
_P = f'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="{_R}" xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
_ODF = " ".join(
    f'xmlns:{prefix}="urn:oasis:names:tc:opendocument:xmlns:{name}:1.0"'
    for prefix, name in (("office", "office"), ("text", "text"), ("table", "table"), ("draw", "drawing"),
                         ("presentation", "presentation"), ("svg", "svg-compatible"))
) + ' xmlns:xlink="http://www.w3.org/1999/xlink"'  # fmt: skip


def rels(*relations: tuple[str, str, str]) -> bytes:
    """A part of relations: (id, last word of the type, target)."""
    rows = "".join(f'<Relationship Id="{i}" Type="{_R}/{kind}" Target="{target}"/>' for i, kind, target in relations)
    return f'{_XML}<Relationships xmlns="x">{rows}</Relationships>'.encode()


def make_png(text: str = "", size: tuple[int, int] = (400, 120)) -> bytes:
    image = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(image)
    draw.rectangle((2, 2, size[0] - 3, size[1] - 3), outline="blue")
    if text:
        draw.text((20, size[1] // 3), text, fill="black", font=ImageFont.load_default(36))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def word_xml(body: str) -> bytes:
    return f"{_XML}<w:document {_W}><w:body>{body}</w:body></w:document>".encode()


def make_rich_docx(picture: bytes, *, macros: bool = False) -> bytes:
    """Numbered headings, a picture in a paragraph, merged cells, a text box, a footnote, a deletion, a file in it."""

    def p(inner: str, style: str = "") -> str:
        return f"<w:p><w:pPr>{style}</w:pPr>{inner}</w:p>"

    def r(text: str) -> str:
        return f'<w:r><w:t xml:space="preserve">{text}</w:t></w:r>'

    image = '<w:r><w:drawing><wp:inline><wp:docPr id="1" name="x" descr="A blue box"/><a:blip r:embed="rIdP"/></wp:inline></w:drawing></w:r>'  # noqa: E501
    box = f"<w:r><mc:AlternateContent><mc:Choice><w:drawing><w:txbxContent>{p(r('In a box'))}</w:txbxContent></w:drawing></mc:Choice><mc:Fallback><w:pict><w:txbxContent>{p(r('In a box'))}</w:txbxContent></w:pict></mc:Fallback></mc:AlternateContent></w:r>"  # noqa: E501

    def cell(text: str, how: str = "") -> str:
        return f"<w:tc><w:tcPr>{how}</w:tcPr>{p(r(text))}</w:tc>"

    struck = "<w:del><w:r><w:delText>never written</w:delText></w:r></w:del>"
    starts, wide = '<w:vMerge w:val="restart"/>', '<w:gridSpan w:val="2"/>'
    heading = '<w:pStyle w:val="berschrift1"/>'
    table = (
        f"<w:tbl><w:tr>{cell('Region', starts)}{cell('Sales', wide)}</w:tr>"
        f"<w:tr>{cell('', '<w:vMerge/>')}{cell('2024')}{cell('2025')}</w:tr>"
        f"<w:tr>{cell('North')}{cell('1')}{cell('2')}</w:tr></w:tbl>"
    )
    body = (
        p(r("Scope"), heading)
        + p(r("See the picture.") + image)
        + p(image)
        + p(r("Kept") + struck + r(" text") + '<w:r><w:footnoteReference w:id="2"/></w:r>')
        + p(box)
        + p(r("Terms"), heading)
        + table
        + p(r("first"), '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="7"/></w:numPr>')
        + p(r("inner"), '<w:numPr><w:ilvl w:val="1"/><w:numId w:val="7"/></w:numPr>')
    )  # fmt: skip
    styles = f'{_XML}<w:styles {_W}><w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/><w:pPr><w:numPr><w:numId w:val="5"/></w:numPr></w:pPr></w:style></w:styles>'  # noqa: E501
    levels = '<w:lvl w:ilvl="{}"><w:start w:val="1"/><w:numFmt w:val="{}"/><w:lvlText w:val="{}"/></w:lvl>'
    numbering = (
        f'{_XML}<w:numbering {_W}><w:abstractNum w:abstractNumId="0">{levels.format(0, "upperRoman", "Article %1.")}</w:abstractNum>'  # noqa: E501
        f'<w:abstractNum w:abstractNumId="1">{levels.format(0, "decimal", "%1.")}{levels.format(1, "lowerLetter", "%1.%2)")}</w:abstractNum>'  # noqa: E501
        '<w:num w:numId="5"><w:abstractNumId w:val="0"/></w:num><w:num w:numId="7"><w:abstractNumId w:val="1"/></w:num></w:numbering>'  # noqa: E501
    )
    notes = f'{_XML}<w:footnotes {_W}><w:footnote w:id="2">{p(r("The small print."))}</w:footnote></w:footnotes>'
    entries = {
        "[Content_Types].xml": b"<Types/>",
        "_rels/.rels": rels(("r1", "officeDocument", "word/document.xml")),
        "word/document.xml": word_xml(body),
        "word/_rels/document.xml.rels": rels(
            ("rIdP", "image", "media/image1.png"), ("s", "styles", "styles.xml"), ("n", "numbering", "numbering.xml"),
            ("f", "footnotes", "footnotes.xml"),
        ),
        "word/styles.xml": styles.encode(),
        "word/numbering.xml": numbering.encode(),
        "word/footnotes.xml": notes.encode(),
        "word/media/image1.png": picture,
        "word/embeddings/inner.xlsx": make_xlsx({"Data": [["k", "v"], ["x", 1]]}),
        "docProps/core.xml": b'<cp xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>The Rules</dc:title></cp>',
    }  # fmt: skip
    if macros:
        entries["word/vbaProject.bin"] = b'Sub AutoOpen()\nShell "rm -rf /"\nEnd Sub'
    return make_zip(entries)


def make_xlsx(sheets: dict[str, Sequence[Sequence[object]]], merged: Sequence[str] = ()) -> bytes:
    """A workbook; numbers are numbers, (days, "date") is a date in Excel's count, everything else text."""
    entries = {
        "[Content_Types].xml": (
            f'{_XML}<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'.encode()
        ),
        "_rels/.rels": rels(("r1", "officeDocument", "xl/workbook.xml")),
        "xl/_rels/workbook.xml.rels": rels(
            *((f"s{n}", "worksheet", f"worksheets/sheet{n}.xml") for n in range(len(sheets))),
            ("st", "styles", "styles.xml"),
        ),
        "xl/styles.xml": (
            f'{_XML}<styleSheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
            '<cellXfs count="2"><xf numFmtId="0"/><xf numFmtId="22"/></cellXfs></styleSheet>'
        ).encode(),
    }
    names = "".join(f'<sheet name="{name}" sheetId="{n + 1}" r:id="s{n}"/>' for n, name in enumerate(sheets))
    main = f'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main" xmlns:r="{_R}"'
    entries["xl/workbook.xml"] = f"{_XML}<workbook {main}><sheets>{names}</sheets></workbook>".encode()
    spans = "".join(f'<mergeCell ref="{ref}"/>' for ref in merged)
    spans = f'<mergeCells count="{len(merged)}">{spans}</mergeCells>' if merged else ""
    for n, rows in enumerate(sheets.values()):
        lines = "".join(
            f'<row r="{y}">' + "".join(_cell(f"{_column(x)}{y}", value) for x, value in enumerate(row)) + "</row>"
            for y, row in enumerate(rows, 1)
        )
        entries[f"xl/worksheets/sheet{n}.xml"] = (
            f"{_XML}<worksheet {main}><sheetData>{lines}</sheetData>{spans}</worksheet>".encode()
        )
    return make_zip(entries)


def _column(x: int) -> str:
    return (_column(x // 26 - 1) if x >= 26 else "") + chr(ord("A") + x % 26)


def _cell(ref: str, value: object) -> str:
    match value:
        case None:
            return ""
        case bool():
            return f'<c r="{ref}" t="b"><v>{int(value)}</v></c>'
        case int() | float():
            return f'<c r="{ref}"><v>{value}</v></c>'
        case (int() | float() as days, "date"):
            return f'<c r="{ref}" s="1"><v>{days}</v></c>'
        case _:
            return f'<c r="{ref}" t="inlineStr"><is><t>{value}</t></is></c>'


def make_xls(rows: Sequence[Sequence[str | float]], sheet: str = "Old") -> bytes:
    """A workbook as Excel 97 wrote it: text and numbers."""

    def record(kind: int, data: bytes) -> bytes:
        return struct.pack("<HH", kind, len(data)) + data

    bof = struct.pack("<HHHHII", 0x0600, 0x0005, 0x0DBB, 0x07CC, 0, 6)
    name = struct.pack("<BB", len(sheet), 0) + sheet.encode("latin-1")
    head = record(0x0809, bof) + record(0x0042, struct.pack("<H", 1200))
    tail = record(0x000A, b"")
    at = len(head) + 4 + 6 + len(name) + len(tail)
    body = record(0x0809, bof[:2] + struct.pack("<H", 0x0010) + bof[4:])
    for y, row in enumerate(rows):
        for x, value in enumerate(row):
            if isinstance(value, str):
                text = struct.pack("<HB", len(value), 1) + value.encode("utf-16-le")
                body += record(0x0204, struct.pack("<HHH", y, x, 0) + text)
            else:
                body += record(0x0203, struct.pack("<HHHd", y, x, 0, value))
    body += tail
    return make_ole({"Workbook": head + record(0x0085, struct.pack("<IH", at, 0) + name) + tail + body})


def make_doc(text: str) -> bytes:
    """A document as Word 97 wrote it: one piece of Windows-1252 text."""
    data = text.replace("\n", "\r").encode("cp1252")
    at = 0x600
    fib = bytearray(at)
    struct.pack_into("<HHHHHHHBB", fib, 0, 0xA5EC, 0xC1, 0, 0x409, 0, 0x1200, 0xBF, 0, 0)
    struct.pack_into("<II", fib, 0x18, at, at + len(data))
    struct.pack_into("<H", fib, 0x20, 14)
    struct.pack_into("<H", fib, 0x3E, 22)
    struct.pack_into("<I", fib, 0x4C, len(data))
    struct.pack_into("<H", fib, 0x98, 93)
    pieces = struct.pack("<II", 0, len(data)) + struct.pack("<HIH", 0, (at * 2) | 0x40000000, 0)
    table = struct.pack("<BI", 2, len(pieces)) + pieces
    struct.pack_into("<II", fib, 0x1A2, 0, len(table))
    return make_ole({"WordDocument": bytes(fib) + data, "1Table": table})


def make_ppt(slides: Sequence[Sequence[str]]) -> bytes:
    """A presentation as PowerPoint 97 wrote it: a list of texts for each slide."""

    def record(kind: int, data: bytes, version: int = 0) -> bytes:
        return struct.pack("<HHI", version, kind, len(data)) + data

    def text(value: str) -> bytes:
        return record(3999, struct.pack("<I", 1)) + record(4000, value.encode("utf-16-le"))

    document = record(1000, b"", 15)
    document += b"".join(record(1006, b"".join(text(value) for value in values), 15) for values in slides)
    user = struct.pack("<IHBBIIIHH", 0x0100, 3, 0, 3, 0, len(document) + 16, 1, 1, 0)
    directory = record(6002, struct.pack("<II", 1 << 20 | 1, 0))
    stream = document + directory + record(4085, user)
    current = record(4086, struct.pack("<IIIHH", 20, 0xE391C05F, len(document) + len(directory), 0, 1012), 0)
    return make_ole({"PowerPoint Document": stream, "Current User": current})


def make_pptx(picture: bytes) -> bytes:
    """Two slides; on the first the shapes stand in another order than they are written, the second has notes."""

    def shape(text: str, y: int, x: int = 0, holder: str = "", levels: Sequence[int] = ()) -> str:
        paragraphs = "".join(
            f'<a:p><a:pPr lvl="{levels[n] if levels else 0}"/><a:r><a:t>{line}</a:t></a:r></a:p>'
            for n, line in enumerate(text.split("|"))
        )
        return (
            f"<p:sp><p:nvSpPr><p:nvPr>{holder}</p:nvPr></p:nvSpPr>"
            f'<p:spPr><a:xfrm><a:off x="{x}" y="{y}"/></a:xfrm></p:spPr><p:txBody>{paragraphs}</p:txBody></p:sp>'
        )

    def slide(shapes: str) -> bytes:
        return f"{_XML}<p:sld {_P}><p:cSld><p:spTree>{shapes}</p:spTree></p:cSld></p:sld>".encode()

    def row(*cells: str) -> str:
        return (
            "<a:tr>"
            + "".join(f"<a:tc><a:txBody><a:p><a:r><a:t>{c}</a:t></a:r></a:p></a:txBody></a:tc>" for c in cells)
            + "</a:tr>"
        )

    table = f'<p:graphicFrame><p:xfrm><a:off x="0" y="500"/></p:xfrm><a:graphic><a:tbl>{row("Way", "Fee")}{row("Post", "3")}</a:tbl></a:graphic></p:graphicFrame>'  # noqa: E501
    pic = '<p:pic><p:nvPicPr><p:cNvPr id="9" name="p" descr="A chart of fees"/></p:nvPicPr><p:blipFill><a:blip r:embed="p1"/></p:blipFill><p:spPr><a:xfrm><a:off x="0" y="900"/></a:xfrm></p:spPr></p:pic>'  # noqa: E501
    first = (
        pic + table + shape("right", 300, 50) + shape("left", 300, 10)
        + shape("one|two|inner", 200, 0, '<p:ph type="body" idx="1"/>', (0, 0, 1))
        + shape("Fees", 100, 0, '<p:ph type="title"/>') + shape("7", 999, 0, '<p:ph type="sldNum"/>')
    )  # fmt: skip
    return make_zip(
        {
            "[Content_Types].xml": b"<Types/>",
            "_rels/.rels": rels(("r1", "officeDocument", "ppt/presentation.xml")),
            "ppt/presentation.xml": (
                f'{_XML}<p:presentation {_P}><p:sldIdLst><p:sldId id="256" r:id="b"/><p:sldId id="257" r:id="a"/>'
                "</p:sldIdLst></p:presentation>"
            ).encode(),
            "ppt/_rels/presentation.xml.rels": rels(("a", "slide", "slides/s1.xml"), ("b", "slide", "slides/s2.xml")),
            "ppt/slides/s2.xml": slide(first),
            "ppt/slides/_rels/s2.xml.rels": rels(("p1", "image", "../media/i.png")),
            "ppt/slides/s1.xml": slide(shape("Thanks", 10, 0, '<p:ph type="ctrTitle"/>')),
            "ppt/slides/_rels/s1.xml.rels": rels(("n", "notesSlide", "../notes/n1.xml")),
            "ppt/notes/n1.xml": slide(shape("Smile here", 0, 0, '<p:ph type="body" idx="1"/>')),
            "ppt/media/i.png": picture,
            "docProps/thumbnail.jpeg": picture,
        }
    )


def make_odf(body: str, extra: dict[str, bytes] | None = None) -> bytes:
    """An OpenDocument file with this body."""
    content = f"{_XML}<office:document-content {_ODF}><office:body>{body}</office:body></office:document-content>"
    return make_zip({"mimetype": b"application/vnd.oasis", "content.xml": content.encode(), **(extra or {})})


def make_odt(picture: bytes) -> bytes:
    body = """<office:text><text:tracked-changes><text:p>struck out</text:p></text:tracked-changes>
    <text:h text:outline-level="1">Rules</text:h><text:p>Be<text:s text:c="3"/>kind<text:line-break/>always.
    <text:note><text:note-body><text:p>A footnote.</text:p></text:note-body></text:note>
    <draw:frame><draw:image xlink:href="Pictures/1.png"/><svg:title>A box</svg:title></draw:frame></text:p>
    <text:h text:outline-level="2">Lists</text:h>
    <text:list><text:list-item><text:p>one</text:p><text:list><text:list-item><text:p>inner</text:p></text:list-item></text:list></text:list-item></text:list>
    <table:table><table:table-row><table:table-cell><text:p>Year</text:p></table:table-cell><table:table-cell><text:p>Days</text:p></table:table-cell><table:table-cell table:number-columns-repeated="1020"/></table:table-row>
    <table:table-row><table:table-cell><text:p>2025</text:p></table:table-cell><table:table-cell><text:p>30</text:p></table:table-cell></table:table-row></table:table>
    </office:text>"""  # noqa: E501
    return make_odf(body, {"Pictures/1.png": picture})


def make_odp(picture: bytes | None = None) -> bytes:
    """Two slides of frames, the second with notes; with a picture it stands on both."""

    def frame(text: str, y: str, what: str = "") -> str:
        return f'<draw:frame svg:y="{y}" svg:x="1cm" {what}><draw:text-box><text:p>{text}</text:p></draw:text-box></draw:frame>'  # noqa: E501

    title = 'presentation:class="title"'
    drawn = '<draw:frame svg:y="12cm" svg:x="1cm"><draw:image xlink:href="Pictures/1.png"/></draw:frame>'
    drawn = drawn if picture is not None else ""
    pages = (
        f"<draw:page>{frame('below', '9cm')}{frame('above', '20mm')}{frame('Start', '8cm', title)}{drawn}</draw:page>"
        f"<draw:page>{frame('Second', '1cm')}{drawn}<presentation:notes>{frame('Say it slowly', '1cm')}</presentation:notes></draw:page>"  # noqa: E501
    )
    extra = {"Pictures/1.png": picture} if picture is not None else None
    return make_odf(f"<office:presentation>{pages}</office:presentation>", extra)


def make_ods() -> bytes:
    rows = (
        '<table:table-row><table:table-cell office:value-type="string"><text:p>Day</text:p></table:table-cell>'
        '<table:table-cell office:value-type="string"><text:p>Sum</text:p></table:table-cell></table:table-row>'
        '<table:table-row><table:table-cell office:value-type="date" office:date-value="2025-06-02"><text:p>x</text:p></table:table-cell>'  # noqa: E501
        '<table:table-cell office:value-type="float" office:value="3"><text:p>3</text:p></table:table-cell></table:table-row>'  # noqa: E501
    )
    body = f'<office:spreadsheet><table:table table:name="Cash">{rows}</table:table></office:spreadsheet>'
    content = f"{_XML}<office:document-content {_ODF}><office:body>{body}</office:body></office:document-content>"
    return make_zip(
        {
            "mimetype": b"application/vnd.oasis.opendocument.spreadsheet",
            "META-INF/manifest.xml": b'<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>',
            "content.xml": content.encode(),
        },
        stored="mimetype",
    )


def make_epub(
    chapters: Sequence[tuple[str, str]] = (("Start", "It begins."), ("End", "It ends.")), extra: bytes | None = None
) -> bytes:
    """A book whose reading order is not that of its files; with a table of contents in the spine.

    `extra` is a picture beside the chapters, `i.png`.
    """
    items = "".join(
        f'<item id="c{n}" href="text%20{n}.xhtml" media-type="application/xhtml+xml"/>' for n in range(len(chapters))
    )
    order = "".join(f'<itemref idref="c{n}"/>' for n in range(len(chapters)))
    package = f"""{_XML}<package xmlns="http://www.idpf.org/2007/opf"><metadata xmlns:dc="http://purl.org/dc/elements/1.1/"><dc:title>A Book</dc:title></metadata>
    <manifest>{items}<item id="toc" href="nav.xhtml" properties="nav" media-type="application/xhtml+xml"/></manifest><spine><itemref idref="toc"/>{order}</spine></package>"""  # noqa: E501
    entries = {
        "mimetype": b"application/epub+zip",
        "META-INF/container.xml": b'<container><rootfiles><rootfile full-path="OPS/p.opf"/></rootfiles></container>',
        "OPS/p.opf": package.encode(),
        "OPS/nav.xhtml": b"<html><body><nav><ol><li>Start</li></ol></nav></body></html>",
    }
    for n, (title, text) in reversed(list(enumerate(chapters))):
        page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1><p>{text}</p></body></html>"
        entries[f"OPS/text {n}.xhtml"] = page.encode()
    if extra is not None:
        entries["OPS/i.png"] = extra
    return make_zip(entries)


def make_eml() -> bytes:
    inner = EmailMessage()
    inner["Subject"], inner["From"] = "Older", "old@example.org"
    inner.set_content("The older text.")
    mail = EmailMessage()
    mail["Subject"], mail["From"], mail["To"] = "Rückgabe & Geld", "Änn <ann@example.org>", "bob@example.org"
    mail["Received"], mail["X-Spam"] = "from a by b", "no"
    mail.set_content("Refunds are paid within thirty days.\n", cte="base64")
    mail.add_alternative("<p>Refunds are paid within <b>thirty days</b>.</p>", subtype="html")
    mail.add_attachment(b"a;b\n1;2\n", maintype="text", subtype="csv", filename="täble.csv")
    mail.add_attachment(b"MZ", maintype="application", subtype="octet-stream", filename="run.exe")
    mail.add_attachment(inner)
    return mail.as_bytes()
