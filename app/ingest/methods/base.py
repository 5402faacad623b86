"""What every chunk method is given and gives back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from app.domain.documents import Block, OutlineSection, ParsedDocument, RawChunk
from app.ingest.chunking import number_drafts
from app.ingest.cutting import CountTokens
from app.ingest.file_types import suffix
from app.ingest.parser_config import CutSettings
from app.ingest.pieces import MAX_CHUNK_TOKENS, NaiveConfig

__all__ = ["WORD_FILES", "Cut", "Source", "number_drafts"]

WORD_FILES = frozenset({"docx", "doc", "odt", "wps"})
"""Word processor files: their tables are shown with the path of headings that leads to them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A parsed file that is to be cut. `sections` are its outline; they hold every block once, in order."""

    document: ParsedDocument
    filename: str
    sections: Sequence[OutlineSection]
    settings: CutSettings
    count: CountTokens
    is_english: bool = True

    @property
    def suffix(self) -> str:
        """The file name's extension, lower-cased."""
        return suffix(self.filename)

    @property
    def stem(self) -> str:
        """The file name without its extension."""
        return PurePath(self.filename).stem

    @property
    def blocks(self) -> list[tuple[Block, int]]:
        """Every block with the order of its section, in reading order."""
        return [
            (block, section.order)
            for section in self.sections
            for block in (*((section.heading,) if section.heading else ()), *section.blocks)
        ]

    def naive_config(self, *, chunk_token_num: int | None = None, most_tokens: int = MAX_CHUNK_TOKENS) -> NaiveConfig:
        """Return how the naive method cuts this file."""
        return NaiveConfig(
            chunk_token_num=chunk_token_num or self.settings.chunk_token_num,
            delimiter=self.settings.delimiter,
            html4excel=self.settings.html4excel,
            table_caption=self.filename if self.suffix in WORD_FILES else None,
            has_html_tables=self.suffix == "md",
            most_tokens=most_tokens,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """The chunks of a file; `notes` are lines for the document's log.

    `field_map` names the columns by the codes under which typed cells are stored (table only).
    """

    chunks: Sequence[RawChunk]
    notes: tuple[str, ...] = ()
    field_map: Mapping[str, str] = field(default_factory=dict[str, str])
