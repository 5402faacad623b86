import os
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.domain.errors import TooLarge
from app.ingest.blobs import BlobMissing, BlobStore, UnsafeKey, blob_key

KEY = blob_key("tenant", "dataset", "document")


@pytest.fixture(params=["memory", "file"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return BlobStore.at("memory:///" if request.param == "memory" else f"file://{tmp_path}/the%20blobs")


async def pieces(count: int, *, breaks: bool = False) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 1000
    if breaks:
        raise ConnectionError("the client hung up")


async def test_what_was_put_is_got(blobs: BlobStore) -> None:
    with anyio.fail_after(10):
        assert await blobs.put(KEY, b"hello") == 5
        assert await blobs.get(KEY) == b"hello"
        assert await blobs.size(KEY) == 5
        assert await blobs.get_range(KEY, start=1, length=3) == b"ell"
        assert await blobs.get_range(KEY, start=3, length=99) == b"lo"
        assert await blobs.get_range(KEY, start=5, length=1) == b""
        await blobs.put(KEY, b"new")
        assert b"".join([piece async for piece in blobs.stream(KEY)]) == b"new"


async def test_a_stream_is_stored_whole_or_not_at_all(blobs: BlobStore) -> None:
    with anyio.fail_after(20):
        assert await blobs.put(KEY, pieces(3000)) == await blobs.size(KEY) == 3_000_000
        for broken in (pieces(3, breaks=True), pieces(20_000, breaks=True)):
            with pytest.raises(ConnectionError):
                await blobs.put(blob_key("t", "d", "other"), broken)
        with pytest.raises(TooLarge):
            await blobs.put(blob_key("t", "d", "other"), pieces(30), at_most=20_000)
        with pytest.raises(BlobMissing):
            await blobs.get(blob_key("t", "d", "other"))


async def test_deleted_blobs_are_missing_and_deleting_twice_is_fine(blobs: BlobStore) -> None:
    with anyio.fail_after(10):
        await blobs.put("t/d/1", b"1")
        await blobs.put("t/d/2", b"2")
        await blobs.delete_many(["t/d/1", "t/d/none", "t/d/2"])
        await blobs.delete("t/d/1")
        await blobs.delete_many([])
        for read in (blobs.get, blobs.size):
            with pytest.raises(BlobMissing):
                await read("t/d/1")
        with pytest.raises(BlobMissing):
            await blobs.get_range("t/d/2", start=0, length=1)


async def test_a_blob_is_lent_as_a_file(blobs: BlobStore) -> None:
    with anyio.fail_after(10):
        await blobs.put(KEY, b"hello")
        async with blobs.as_file(KEY) as file:
            assert file.read() == b"hello"
            assert os.fstat(file.fileno()).st_nlink == 0  # killed here, nothing of it would stay
        assert file.closed


@pytest.mark.parametrize(
    "key",
    ["", "/", "a//b", "../a", "a/../b", "a/.", ".a", "a/b\\c", "a/b\0", "a/%2e%2e", "/a", "a/", "a b", "a/b/c/d/e/f/g"],
)
async def test_keys_that_could_lead_elsewhere_are_refused(blobs: BlobStore, key: str) -> None:
    for call in (blobs.get, blobs.size, blobs.delete):
        with pytest.raises(UnsafeKey):
            await call(key)
    with pytest.raises(UnsafeKey):
        await blobs.put(key, b"")


@given(st.text(max_size=20))
def test_no_part_of_a_key_leaves_its_folder(part: str) -> None:
    try:
        key = blob_key("tenant", part)
    except UnsafeKey:
        return
    assert (Path("/srv") / key).resolve().parent == Path("/srv/tenant")
