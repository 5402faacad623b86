"""Where uploaded files lie: a local folder, memory, or a bucket, by URL."""

import re
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import anyio
import anyio.to_thread
import obstore
from obstore.store import LocalStore, MemoryStore, ObjectStore, from_url

from app.domain.errors import Invalid, Missing, TooLarge

if TYPE_CHECKING:
    from obstore import BytesStream, GetOptions

_PART = re.compile(r"[A-Za-z0-9_=@+-](?:[A-Za-z0-9_.=@+-]{0,198}[A-Za-z0-9_=@+-])?")
_MAX_PARTS = 6
_PART_BYTES = 8 * 1024 * 1024


class BlobMissing(Missing):
    """There is no blob under that key."""


class UnsafeKey(Invalid):
    """A key that could name anything but a blob of its tenant."""


def blob_key(*parts: str) -> str:
    """Return `<tenant>/<dataset>/<document>`, or deeper.

    Raises:
        UnsafeKey: a part is empty, has a slash, begins or ends with a dot, or is otherwise no plain id.
    """
    if not 1 <= len(parts) <= _MAX_PARTS or not all(_PART.fullmatch(part) for part in parts):
        raise UnsafeKey("That is no key of a stored file.")
    return "/".join(parts)


class BlobStore:
    """Blobs of all tenants behind one URL; every key is checked."""

    def __init__(self, store: ObjectStore, *, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    @classmethod
    def at(cls, url: str, **options: Any) -> "BlobStore":
        """Open `file:///folder` (made if absent), `memory:///`, `s3://…`, `gs://…` or `az://…`.

        `options` go to the bucket's client, such as `endpoint` or `region`; credentials come from its environment.
        """
        parsed = urlsplit(url)
        match parsed.scheme:
            case "file":
                folder = Path(unquote(parsed.path))
                return cls(LocalStore(folder, mkdir=True, automatic_cleanup=True), folder=folder)
            case "memory":
                return cls(MemoryStore())
            case _:
                return cls(from_url(url, **options))

    async def put(self, key: str, data: bytes | AsyncIterator[bytes], *, at_most: int | None = None) -> int:
        """Store `data` under `key`, replacing what was there, and return its size in bytes. All or nothing.

        Raises:
            TooLarge: `data` is longer than `at_most`; nothing is stored.
        """
        key = _checked(key)
        if isinstance(data, bytes):
            if at_most is not None and len(data) > at_most:
                raise TooLarge(f"The file is larger than {at_most} bytes.")
            await obstore.put_async(self._store, key, data)
            return len(data)
        size = 0
        async with obstore.open_writer_async(self._store, key, buffer_size=_PART_BYTES) as writer:
            async for piece in data:
                size += len(piece)
                if at_most is not None and size > at_most:
                    raise TooLarge(f"The file is larger than {at_most} bytes.")
                await writer.write(piece)
        return size

    async def get(self, key: str) -> bytes:
        """Return the whole blob.

        Raises:
            BlobMissing: there is none.
        """
        try:
            found = await obstore.get_async(self._store, _checked(key))
            return bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise BlobMissing("The stored file is gone.") from error

    async def stream(self, key: str) -> AsyncGenerator[bytes, None]:
        """Yield the blob in pieces; close it when you stop early.

        Raises:
            BlobMissing: there is none.
        """
        try:
            found = await obstore.get_async(self._store, _checked(key))
        except FileNotFoundError as error:
            raise BlobMissing("The stored file is gone.") from error
        async for piece in found.stream():
            yield bytes(piece)

    async def open_range(self, key: str, *, start: int, length: int) -> AsyncIterator[bytes]:
        """Open `length` bytes from `start` (both within the blob) and return them in pieces.

        Raises:
            BlobMissing: there is none; told before the first piece.
        """
        if length <= 0:
            await self.size(key)
            return _pieces(())
        options: GetOptions = {"range": (start, start + length)}
        try:
            found = await obstore.get_async(self._store, _checked(key), options=options)
        except FileNotFoundError as error:
            raise BlobMissing("The stored file is gone.") from error
        return _pieces(found.stream())

    async def get_range(self, key: str, *, start: int, length: int) -> bytes:
        """Return up to `length` bytes from `start`; fewer, or none, at the end.

        Raises:
            BlobMissing: there is none.
        """
        size = await self.size(key)
        end = min(size, start + length)
        if start >= end:
            return b""
        return bytes(await obstore.get_range_async(self._store, _checked(key), start=start, end=end))

    async def size(self, key: str) -> int:
        """Return the size in bytes.

        Raises:
            BlobMissing: there is none.
        """
        try:
            return (await obstore.head_async(self._store, _checked(key)))["size"]
        except FileNotFoundError as error:
            raise BlobMissing("The stored file is gone.") from error

    async def delete(self, key: str) -> None:
        """Remove the blob; it is no error if there is none."""
        await self.delete_many([key])

    async def delete_many(self, keys: Iterable[str]) -> None:
        """Remove the blobs, those that exist."""
        checked = [_checked(key) for key in keys]
        if not checked:
            return
        if self._folder is not None:
            await anyio.to_thread.run_sync(_remove_half_written, self._folder, checked)
        try:
            await obstore.delete_async(self._store, checked)
        except FileNotFoundError:  # stores differ in whether they mind; then one at a time
            for key in checked:
                try:
                    await obstore.delete_async(self._store, key)
                except FileNotFoundError:
                    continue

    @asynccontextmanager
    async def as_file(self, key: str) -> AsyncGenerator[IO[bytes], None]:
        """Lend a private local copy of the blob, open at its beginning. It has no name: whatever ends this process,
        nothing of it stays.

        Raises:
            BlobMissing: there is none.
        """
        with tempfile.TemporaryFile() as file:
            copy = anyio.wrap_file(file)
            async for piece in self.stream(key):
                await copy.write(piece)
            await copy.seek(0)
            yield file


def _checked(key: str) -> str:
    return blob_key(*key.split("/"))


async def _pieces(found: "BytesStream | tuple[()]") -> AsyncIterator[bytes]:
    if not isinstance(found, tuple):
        async for piece in found:
            yield bytes(piece)


def _remove_half_written(folder: Path, keys: list[str]) -> None:
    """Remove what a writer left that was killed: beside its blob, under the same name and a number."""
    for key in keys:
        path = folder / key
        for left in path.parent.glob(f"{path.name}#*"):
            left.unlink(missing_ok=True)
