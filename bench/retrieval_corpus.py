"""The judged set: questions of two FAQs, each answered by one section, among manual pages as distractors.

The texts are Debian's own documentation packages, fetched when the run needs them and kept in a cache folder outside
the checkout; nothing of them is committed. A question is the heading its authors gave a section; the heading is not
indexed, nor is any other place that repeats it (tables of contents, cross references, navigation): the answer has to
be found by what it says.
"""

import re
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lxml import html  # type: ignore[import-untyped]
from lxml.html import HtmlElement  # type: ignore[import-untyped]

from app.domain.documents import Block, ParsedDocument
from app.ingest.html_blocks import html_blocks

PACKAGES = ("python3.11-doc", "debian-faq", "postgresql-doc-15")
_SHARE = "usr/share/doc"
_NAVIGATION = ".//div[@class='navheader' or @class='navfooter' or @class='toc'] | .//nav | .//a[@class='headerlink']"
_NUMBER = re.compile(r"^(?:\d+\.)+\s+")
_BLANKS = re.compile(r"\s+")
_LEAST_WORDS = 3  # of a question that is struck out wherever else it is quoted
_LEAST_ANSWER = 40  # characters; a section without a text of its own answers nothing
_MANUALS = (
    ("postgresql", f"{_SHARE}/postgresql-doc-15/html", "."),
    ("python-tutorial", f"{_SHARE}/python3.11/html/tutorial", ".//div[@class='body']"),
    ("python-howto", f"{_SHARE}/python3.11/html/howto", ".//div[@class='body']"),
    ("python-reference", f"{_SHARE}/python3.11/html/reference", ".//div[@class='body']"),
    ("python-using", f"{_SHARE}/python3.11/html/using", ".//div[@class='body']"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """One document of the corpus. `question` is what it answers, None for a distractor."""

    name: str
    parsed: ParsedDocument
    question: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Corpus:
    """All documents, and in how many places a question was struck out of a text."""

    pages: list[Page]
    struck: int


def fetch(cache: Path) -> Path:
    """Return the folder with the unpacked packages; they are fetched with apt when they are not there yet."""
    root = cache / "texts"
    if not (root / "complete").exists():
        debs = cache / "packages"
        debs.mkdir(parents=True, exist_ok=True)
        subprocess.run(["apt-get", "download", *PACKAGES], cwd=debs, check=True, capture_output=True)
        for deb in sorted(debs.glob("*.deb")):
            subprocess.run(["dpkg", "-x", str(deb), str(root)], check=True)
        (root / "complete").touch()
    return root


def versions(cache: Path) -> list[str]:
    """Return the packages with their versions."""
    return sorted(deb.stem for deb in (cache / "packages").glob("*.deb"))


def build(root: Path) -> Corpus:
    """Return the corpus of unpacked packages, the same each time."""
    answers = [*_python_answers(root), *_debian_answers(root)]
    asked = Counter(question for question, _ in answers)
    strike = _Strike([question for question in asked if len(question.split()) >= _LEAST_WORDS])
    pages: list[Page] = []
    struck = 0
    for number, (question, element) in enumerate(answers):
        parsed, count = _parsed(element, strike)
        if len(parsed.markdown) >= _LEAST_ANSWER:
            only = question if asked[question] == 1 else None  # with two answers there is not one right place
            pages.append(Page(name=f"answer-{number:03}.html", parsed=parsed, question=only))
            struck += count
    for name, element in _manual_pages(root):
        parsed, count = _parsed(element, strike)
        if parsed.blocks:
            pages.append(Page(name=name, parsed=parsed))
            struck += count
    return Corpus(pages=pages, struck=struck)


def _python_answers(root: Path) -> Iterator[tuple[str, HtmlElement]]:
    for path in sorted((root / _SHARE / "python3.11/html/faq").glob("*.html")):
        if path.name != "index.html":
            yield from _sections(path, ".//div[@class='body']//section", "h1|h2|h3|h4", "section")


def _debian_answers(root: Path) -> Iterator[tuple[str, HtmlElement]]:
    for path in sorted((root / _SHARE / "debian/FAQ").glob("*.en.html")):
        titled = "div[@class='titlepage']//h2 | div[@class='titlepage']//h3 | div[@class='titlepage']//h4"
        yield from _sections(path, ".//div[@class='section']", titled, "div[@class='section']")


def _sections(path: Path, sections: str, titled: str, inner: str) -> Iterator[tuple[str, HtmlElement]]:
    """Yield questions with the section below each, without its heading and without the sections in it."""
    page = _page(path)
    _drop(page, _NAVIGATION)
    for section in page.xpath(sections):
        heading = next(iter(section.xpath(titled)), None)
        question = _NUMBER.sub("", _plain(heading.text_content())) if heading is not None else ""
        if not question.endswith("?"):
            continue
        answer = html.fromstring(html.tostring(section))
        _drop(answer, f"({titled}) | .//{inner}")
        yield question, answer


def _manual_pages(root: Path) -> Iterator[tuple[str, HtmlElement]]:
    for label, folder, body in _MANUALS:
        for path in sorted((root / folder).glob("*.html")):
            page = _page(path)
            _drop(page, _NAVIGATION)
            [*found] = page.xpath(body)
            for element in found[:1]:
                yield f"{label}-{path.name}", element


def _page(path: Path) -> HtmlElement:
    return html.fromstring(path.read_bytes(), parser=html.HTMLParser(encoding="utf-8"))


def _drop(element: HtmlElement, what: str) -> None:
    for each in element.xpath(what):
        each.drop_tree()


class _Strike:
    """Takes quoted questions out of texts."""

    def __init__(self, questions: Sequence[str]) -> None:
        longest_first = sorted((question.rstrip("?").split() for question in questions), key=len, reverse=True)
        self._words = [" ".join(words).lower() for words in longest_first]
        self._patterns = [re.compile(r"\s+".join(map(re.escape, words)) + r"\??", re.I) for words in longest_first]

    def out_of(self, text: str) -> tuple[str, int]:
        """Return `text` without the questions, and how many there were."""
        plain = _plain(text).lower()
        struck = 0
        for words, pattern in zip(self._words, self._patterns, strict=True):
            if words in plain:
                text, count = pattern.subn("", text)
                struck += count
        return text, struck


def _parsed(element: HtmlElement, strike: _Strike) -> tuple[ParsedDocument, int]:
    """Return the blocks as our reader of HTML makes them, and how many quoted questions were struck out of them."""
    struck = 0
    for part in element.iter():
        for place in ("title", "alt"):
            part.attrib.pop(place, None)
    for link in element.xpath(".//a"):
        if strike.out_of(link.text_content())[1]:
            struck += 1
            link.drop_tree()
    _, blocks = html_blocks(str(html.tostring(element, encoding="unicode")))
    kept: list[Block] = []
    for block in blocks:
        text, count = strike.out_of(block.text)
        struck += count
        kept.append(replace(block, text=text))
    return ParsedDocument(blocks=tuple(kept)), struck


def _plain(text: str) -> str:
    return _BLANKS.sub(" ", text.replace("¶", "")).strip()
