"""Image files: the picture itself, made smaller, and the text on it where a program reads it."""

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.formats.ocr import MISSING, TextReader
from app.ingest.formats.pictures import Gallery, check_pixels, encode, open_picture, thumbnail, upright
from app.ingest.formats.plain import text_of
from app.ingest.formats.source import Source


def parse_image(source: Source) -> ParsedDocument:
    """Read an image; each frame of a TIFF is a page, of other files the first frame counts.

    Without a program for OCR the block has no text, and a note says why: a model that sees may describe it.
    """
    if source.data.startswith(b"%PDF-"):  # how Illustrator saves
        from app.ingest.pdf import parse_pdf

        return parse_pdf(source)
    picture = open_picture(source.data, source.filename, source.caps.pictures)
    frames = int(getattr(picture, "n_frames", 1)) if picture.format == "TIFF" else 1
    gallery = Gallery(source.caps.pictures)
    reader = TextReader(source.caps.ocr)
    blocks: list[Block] = []
    notes: list[str] = []
    small = None
    for number in range(min(frames, source.caps.ocr.pages)):
        try:
            picture.seek(number)
        except (EOFError, OSError, ValueError, SyntaxError) as error:
            if not number:
                raise ParseFailed(f"{source.filename} is damaged: the picture breaks off.") from error
            notes.append(f"Only {number} of {frames} pages could be opened.")
            break
        check_pixels(picture, source.filename, source.caps.pictures)  # every frame has a size of its own
        frame = upright(picture, source.filename, source.caps.ocr.side_px)
        text = reader.read(frame) if source.hints.ocr else None
        frame.thumbnail((source.caps.pictures.side_px, source.caps.pictures.side_px))
        small = small or thumbnail(frame, source.caps.pictures)
        kept = gallery.keep(encode(frame))
        blocks.append(Block(kind="image", text=text or "", page=number + 1 if frames > 1 else None, picture=kept))
    if source.hints.ocr and not reader.is_installed:
        notes.append(f"No text was read from {source.filename}: {MISSING}.")
    if reader.failures:
        notes.append(f"{reader.failures} pages could not be read by OCR.")
    if frames > source.caps.ocr.pages:
        notes.append(f"{source.filename} has {frames} pages; the first {source.caps.ocr.pages} were read.")
    return ParsedDocument(
        blocks=tuple(blocks),
        pages=frames,
        pictures=tuple(gallery.pictures),
        notes=(*notes, *gallery.notes),
        thumbnail=None if source.is_inside else small,
    )


def parse_svg(source: Source) -> ParsedDocument:
    """Read the texts in a drawing; it is not drawn."""
    from app.ingest.formats.xml_trees import parse_xml

    text_of(source)
    root = parse_xml(source.data, source.filename, has_entities=True)
    lines = (" ".join(node.text.split()) for node in root.all("svg:title", "title", "desc", "text"))
    text = "\n".join(line for line in lines if line)
    return ParsedDocument(blocks=(Block(kind="image", text=text),) if text else ())
