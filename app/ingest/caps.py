"""What parsers accept and are asked for; apart from the parsers, so that knowing it loads none of them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveCaps:
    """How much a zipped document may unpack to."""

    entries: int = 10_000
    unpacked_bytes: int = 512 * 1024 * 1024
    ratio: int = 200
    ratio_from_bytes: int = 16 * 1024 * 1024  # below this a high ratio harms nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureCaps:
    """What is taken of the pictures in a file; kept ones are encoded anew, no longer on a side than `side_px`."""

    count: int = 300
    bytes_in_all: int = 64 * 1024 * 1024
    pixels: int = 100_000_000  # of one picture, before it is made smaller
    smallest_px: int = 32  # shorter sides are bullets and rules
    side_px: int = 1600
    thumbnail_px: int = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class OcrCaps:
    """How much reading of pictures one document is given. Times in seconds."""

    pages: int = 150
    page_s: float = 40.0
    total_s: float = 200.0
    side_px: int = 4000


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseCaps:
    """What a parser accepts; the sandbox adds limits on time and memory."""

    size_bytes: int = 128 * 1024 * 1024
    pages: int = 5000
    timeout_s: float = 300.0
    archive: ArchiveCaps = field(default_factory=ArchiveCaps)
    pictures: PictureCaps = field(default_factory=PictureCaps)
    ocr: OcrCaps = field(default_factory=OcrCaps)
    cells: int = 4_000_000  # of all sheets of a file
    attachments: int = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseHints:
    """What the chunk method and the parser config of a document ask of its parser.

    `method` is the chunk method. `layout` is `layout_recognize`: "Plain Text" (in any case) takes the text layer of a
    PDF as lines, without headings, tables and OCR. `pages` are ranges of a PDF to read, counted from 1, both ends
    included; none = all. `page_pictures` asks for an image of each page, as the `picture` of the page's first block.
    `ocr` = read pictures and scanned pages, where the program for it is installed. `links` asks for the addresses
    that a DOCX or PDF links to.
    """

    method: str = "naive"
    layout: str = "DeepDOC"
    pages: tuple[tuple[int, int], ...] = ()
    page_pictures: bool = False
    ocr: bool = True
    links: bool = False
