"""A look at a zip's directory before any parser unpacks it."""

import io
import zipfile
import zlib

from app.domain.documents import ParseFailed
from app.ingest.caps import ArchiveCaps


def check_archive(data: bytes, filename: str, caps: ArchiveCaps, *, must_hold: str) -> None:
    """Refuse zip bombs, nested path tricks and zips that lack the entry `must_hold`. Only the directory is read.

    Raises:
        ParseFailed: it is not what its name says, or unpacks to more than `caps` allows.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OverflowError, NotImplementedError) as error:
        raise ParseFailed(f"{filename} is damaged or is not what its extension says.") from error
    if len(entries) > caps.entries:
        raise ParseFailed(f"{filename} holds {len(entries)} parts; at most {caps.entries} are read.")
    unpacked = sum(entry.file_size for entry in entries)
    if unpacked > caps.unpacked_bytes or (
        unpacked > caps.ratio_from_bytes and unpacked > caps.ratio * max(1, len(data))
    ):
        raise ParseFailed(f"{filename} would unpack to {unpacked // 1024**2} MiB, which looks like an archive bomb.")
    for entry in entries:
        name = entry.filename.replace("\\", "/")
        if name.startswith("/") or ".." in name.split("/") or name[1:2] == ":":
            raise ParseFailed(f"{filename} holds a part with an unsafe name.")
        if entry.flag_bits & 0x1:
            raise ParseFailed(f"{filename} is protected by a password. Remove the protection and upload it again.")
    if must_hold not in {entry.filename for entry in entries}:
        raise ParseFailed(f"{filename} is an archive, but not of the kind its extension says.")


def read_entry(data: bytes, name: str, *, at_most: int) -> bytes:
    """Return the first `at_most` bytes of an entry, nothing if it cannot be read."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive, archive.open(name) as entry:
            return entry.read(at_most)
    except (zipfile.BadZipFile, zlib.error, OSError, ValueError, KeyError, NotImplementedError, EOFError):
        return b""
