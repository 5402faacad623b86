"""Text files, Markdown and HTML."""

from app.domain.documents import Block, ParsedDocument, ParseFailed
from app.ingest.decoding import decode, looks_binary
from app.ingest.formats.source import Source


def text_of(source: Source) -> str:
    """Return the text of a text file.

    Raises:
        ParseFailed: it is none.
    """
    if looks_binary(source.data):
        raise ParseFailed(f"{source.filename} is not a text file, although its name says so.")
    return decode(source.data)


def plain(text: str, *notes: str) -> ParsedDocument:
    """Return `text` as running text."""
    return ParsedDocument(blocks=(Block(kind="plain", text=text),) if text.strip() else (), notes=notes)


def parse_plain(source: Source) -> ParsedDocument:
    """Read running text and source code."""
    return plain(text_of(source))


def parse_markdown(source: Source) -> ParsedDocument:
    """Read Markdown; front matter gives the title and stays as text."""
    from app.ingest.markdown_blocks import markdown_blocks, split_front_matter

    title, front, body = split_front_matter(text_of(source))
    blocks = [Block(kind="text", text=front)] if front.strip() else []
    return ParsedDocument(blocks=(*blocks, *markdown_blocks(body)), title=title)


def parse_html(source: Source) -> ParsedDocument:
    """Read a page as its reader sees it."""
    from app.ingest.html_blocks import html_blocks

    title, blocks = html_blocks(text_of(source))
    return ParsedDocument(blocks=tuple(blocks), title=title)
