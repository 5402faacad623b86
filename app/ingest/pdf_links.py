"""The addresses that a PDF links to."""

import ctypes
from collections.abc import Iterator, Sequence

import pypdfium2
import pypdfium2.raw as pdfium

_LINKS_A_PAGE = 1000
_MOST_BYTES = 4096


def read_links(document: pypdfium2.PdfDocument, numbers: Sequence[int]) -> tuple[str, ...]:
    """Return the http addresses that links on these pages (from 1) lead to, in order, each once. Blocking."""
    found: dict[str, None] = {}
    for number in numbers:
        page = document[number - 1]
        try:
            found.update(dict.fromkeys(_of_page(document, page)))
        finally:
            page.close()
    return tuple(each for each in found if each.startswith(("http://", "https://")))


def _of_page(document: pypdfium2.PdfDocument, page: pypdfium2.PdfPage) -> Iterator[str]:
    place, link = ctypes.c_int(0), pdfium.FPDF_LINK()
    for _ in range(_LINKS_A_PAGE):
        if not pdfium.FPDFLink_Enumerate(page, place, link):
            return
        action = pdfium.FPDFLink_GetAction(link)
        if not action or pdfium.FPDFAction_GetType(action) != pdfium.PDFACTION_URI:
            continue
        size = pdfium.FPDFAction_GetURIPath(document, action, None, 0)
        if not 1 < size <= _MOST_BYTES:
            continue
        held = ctypes.create_string_buffer(size)
        pdfium.FPDFAction_GetURIPath(document, action, held, size)
        yield held.value.decode("utf-8", "replace").strip()
