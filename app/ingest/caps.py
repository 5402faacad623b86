"""What parsers accept; apart from the parsers, so that knowing it loads none of them."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchiveCaps:
    """How much a zipped document may unpack to."""

    entries: int = 10_000
    unpacked_bytes: int = 512 * 1024 * 1024
    ratio: int = 200
    ratio_from_bytes: int = 16 * 1024 * 1024  # below this a high ratio harms nobody


@dataclass(frozen=True, slots=True, kw_only=True)
class ParseCaps:
    """What a parser accepts; the sandbox adds limits on time and memory."""

    size_bytes: int = 128 * 1024 * 1024
    pages: int = 5000
    timeout_s: float = 300.0
    archive: ArchiveCaps = field(default_factory=ArchiveCaps)
