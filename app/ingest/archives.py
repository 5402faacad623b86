"""Zipped documents: a look at the directory before anything is unpacked, then one part at a time."""

import io
import zipfile
import zlib
from functools import partial

from app.domain.documents import ParseFailed
from app.ingest.caps import ArchiveCaps

_AT_ONCE = 1024 * 1024
_PACKINGS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})  # others unpack a piece to any size at once


class Parts:
    """The parts of a zipped document, by name; checked when made: no zip bomb, no path tricks, `must_hold` is there.

    A part is unpacked a MiB at a time and never to more than the directory says, so the caps on the directory hold for
    the reading too.

    Raises:
        ParseFailed: it is not what its name says, or unpacks to more than `caps` allows.
    """

    def __init__(self, data: bytes, filename: str, caps: ArchiveCaps, *, must_hold: str | None) -> None:
        self._filename = filename
        try:
            self._archive = zipfile.ZipFile(io.BytesIO(data))
            entries = self._archive.infolist()
        except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError, OSError) as error:
            raise ParseFailed(f"{filename} is damaged or is not what its extension says.") from error
        _check(entries, len(data), filename, caps)
        self.names = [entry.filename for entry in entries if not entry.is_dir()]
        self._known = set(self.names)
        if must_hold is not None and must_hold not in self._known:
            raise ParseFailed(f"{filename} is an archive, but not of the kind its extension says.")

    def __contains__(self, name: str) -> bool:
        return name in self._known

    def read(self, name: str) -> bytes:
        """Return a part.

        Raises:
            ParseFailed: it is missing or damaged.
        """
        try:
            with self._archive.open(name) as part:
                return b"".join(iter(partial(part.read, _AT_ONCE), b""))
        except (
            zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, NotImplementedError, EOFError, RuntimeError,
        ) as error:  # fmt: skip
            raise ParseFailed(f"{self._filename} is damaged: its part {name[:100]} cannot be read.") from error

    def find(self, name: str) -> bytes | None:
        """Return a part that may be missing or damaged, None if so."""
        if name not in self._known:
            return None
        try:
            return self.read(name)
        except ParseFailed:
            return None


def _check(entries: list[zipfile.ZipInfo], packed_bytes: int, filename: str, caps: ArchiveCaps) -> None:
    if len(entries) > caps.entries:
        raise ParseFailed(f"{filename} holds {len(entries)} parts; at most {caps.entries} are read.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > caps.unpacked_bytes or (
        unpacked > caps.ratio_from_bytes and unpacked > caps.ratio * max(1, packed_bytes)
    ):
        raise ParseFailed(f"{filename} would unpack to {unpacked // 1024**2} MiB, which looks like an archive bomb.")
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            raise ParseFailed(f"{filename} holds a part with an unsafe name.")
        if entry.compress_type not in _PACKINGS:
            raise ParseFailed(f"{filename} is packed in a way that office programs and books do not use.")
        if entry.flag_bits & 0x1:
            raise ParseFailed(f"{filename} is protected by a password. Remove the protection and upload it again.")
