"""What every reader of a format is given, and what it may ask for."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from app.domain.documents import Attachment, ParsedDocument, ParseFailed
from app.ingest.caps import ParseCaps, ParseHints


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A file to read. `is_inside` = it came inside another; such files have no attachments and no thumbnail.

    `read_inside` parses a file that came inside this one, by its name.
    """

    data: bytes
    filename: str
    caps: ParseCaps
    hints: ParseHints
    read_inside: Callable[[bytes, str], ParsedDocument]
    is_inside: bool = False

    @property
    def is_ole(self) -> bool:
        """Tell whether this is an OLE container: how Office stores protected files and those before 2007."""
        return self.data.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")

    @property
    def is_protected_ole(self) -> bool:
        """Tell whether the OLE container holds an encrypted Office file."""
        return self.is_ole and "EncryptedPackage".encode("utf-16-le") in self.data

    @property
    def is_zip(self) -> bool:
        """Tell whether this is a zip, as Office files since 2007, OpenDocument and EPUB are."""
        return self.data.startswith(b"PK\x03\x04")

    def damaged(self) -> ParseFailed:
        """Return the refusal of a file that is not what its name says."""
        return ParseFailed(f"{self.filename} is damaged or is not what its extension says.")

    def protected(self) -> ParseFailed:
        """Return the refusal of an encrypted file."""
        return ParseFailed(f"{self.filename} is protected by a password. Remove the protection and upload it again.")

    def attach(self, files: Iterable[tuple[str, bytes]]) -> tuple[tuple[Attachment, ...], tuple[str, ...]]:
        """Parse the files that came inside this one, one level deep; return `(attachments, notes)`."""
        if self.is_inside:
            names = [name for name, _ in files]
            return (), (f"Files inside {self.filename} were not read: {', '.join(names[:5])}.",) if names else ()
        attachments: list[Attachment] = []
        left_out = 0
        for name, data in files:
            if len(attachments) >= self.caps.attachments:
                left_out += 1
                continue
            try:
                attachments.append(Attachment(name=name, document=self.read_inside(data, name)))
            except ParseFailed as failure:
                attachments.append(Attachment(name=name, document=ParsedDocument(), failure=failure.message))
        note = f"{left_out} more attachments were not read; at most {self.caps.attachments} are."
        return tuple(attachments), (note,) if left_out else ()
