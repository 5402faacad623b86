"""The chunk methods by name: how each cuts, which files it takes, and what it asks of the parser."""

from collections.abc import Callable
from dataclasses import dataclass

from app.domain.documents import ParseFailed
from app.ingest.caps import ParseHints
from app.ingest.file_types import DocumentType, document_type, suffix
from app.ingest.methods import general
from app.ingest.methods.base import WORD_FILES, Cut, Source
from app.ingest.methods.manual import manual
from app.ingest.methods.paper import paper
from app.ingest.methods.qa import qa
from app.ingest.methods.rows import SHEETS
from app.ingest.methods.slides import presentation
from app.ingest.methods.structured import book, laws
from app.ingest.methods.table import table
from app.ingest.methods.tag import tag
from app.ingest.parser_config import CutSettings

_TEXTS = WORD_FILES | {"pdf", "txt", "html", "htm", "md", "rtf", "epub"}
_ROWS = SHEETS | {"csv", "txt"}
_WHOLE_FILE = 10**8
_PAGES = 12
_PAPER_PAGES = 22
_TABLE_ROWS = 3000


class MethodUnfit(ParseFailed):
    """The chunk method takes no file of this kind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A chunk method. `takes` are file name extensions, None for whatever a parser reads.

    `pages_at_once` is how many pages of a PDF one line of the document's log speaks of.
    """

    name: str
    cut: Callable[[Source], Cut]
    takes: frozenset[str] | None = None
    refusal: str = "file type not supported yet(pdf, xlsx, doc, docx, txt supported)"
    pages_at_once: int = _PAGES
    takes_attachments: bool = False
    wants_page_pictures: bool = False


_METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method(name="naive", cut=general.naive, takes_attachments=True),
        Method(
            name="knowledge_graph",
            cut=general.knowledge_graph,
            pages_at_once=_WHOLE_FILE,
            takes_attachments=True,
        ),
        Method(name="email", cut=general.naive, takes_attachments=True),
        Method(name="one", cut=general.one, pages_at_once=_WHOLE_FILE, takes_attachments=True),
        Method(name="picture", cut=general.picture),
        Method(name="audio", cut=general.naive),
        Method(
            name="qa",
            cut=qa,
            takes=_ROWS | {"md", "docx", "pdf"},
            refusal="Excel, csv(txt), pdf, markdown and docx format files are supported.",
        ),
        Method(
            name="table",
            cut=table,
            takes=_ROWS,
            refusal="file type not supported yet(excel, text, csv supported)",
        ),
        Method(name="tag", cut=tag, takes=_ROWS, refusal="Excel, csv(txt) format files are supported."),
        Method(
            name="paper",
            cut=paper,
            takes=frozenset({"pdf"}),
            refusal="file type not supported yet(pdf supported)",
            pages_at_once=_PAPER_PAGES,
        ),
        Method(
            name="book", cut=book, takes=_TEXTS, refusal="file type not supported yet(doc, docx, pdf, txt supported)"
        ),
        Method(
            name="laws", cut=laws, takes=_TEXTS, refusal="file type not supported yet(doc, docx, pdf, txt supported)"
        ),
        Method(
            name="manual",
            cut=manual,
            takes=WORD_FILES | {"pdf"},
            refusal="file type not supported yet(pdf and docx supported)",
        ),
        Method(
            name="presentation",
            cut=presentation,
            takes=frozenset({"pptx", "ppt", "pdf", "odp", "pages", "key"}),
            refusal="file type not supported yet(pptx, pdf supported)",
            wants_page_pictures=True,
        ),
    )
}


def method_of(name: str) -> Method:
    """Return the method; the naive one for a name nobody knows."""
    return _METHODS.get(name, _METHODS["naive"])


def method_names() -> list[str]:
    """Return the names of all methods."""
    return list(_METHODS)


def check_file(method: Method, filename: str) -> None:
    """Say no before anything is read.

    Raises:
        MethodUnfit: the method takes no such file, or can do nothing with it.
    """
    if method.takes is not None and suffix(filename) not in method.takes:
        raise MethodUnfit(method.refusal)
    if method.name == "audio" or document_type(filename) is DocumentType.AURAL:
        raise MethodUnfit(f"{filename}: audio is not supported, there is no model that turns speech into text.")


def hints_of(method: Method, settings: CutSettings) -> ParseHints:
    """Return what the parser is asked for."""
    return ParseHints(
        method=method.name,
        layout=settings.layout_recognize,
        pages=settings.pages,
        page_pictures=method.wants_page_pictures,
        links=settings.analyze_hyperlink and method.takes_attachments,
    )


def page_steps(
    method: Method, settings: CutSettings, filename: str, *, pages: int | None, rows: int
) -> list[tuple[int, int]]:
    """Return the ranges of pages (or rows of a table) that the log speaks of: from 1, the end not included.

    PDF by `task_page_size` within the `pages` asked for, tables by 3000 rows, all else as a whole (knowledge.md 2.8).
    """
    if method.name == "table":
        size, ranges = _TABLE_ROWS, [(1, rows)] if rows else []
    elif suffix(filename) == "pdf" and pages:
        is_other_layout = settings.layout_recognize.strip().lower() != "deepdoc"
        is_whole = method.pages_at_once == _WHOLE_FILE or is_other_layout or settings.toc_extraction
        size = _WHOLE_FILE if is_whole else settings.task_page_size or method.pages_at_once
        ranges = [(first, min(last, pages)) for first, last in settings.pages or ((1, pages),) if first <= pages]
    else:
        return []
    return [(start, min(start + size, last + 1)) for first, last in ranges for start in range(first, last + 1, size)]
