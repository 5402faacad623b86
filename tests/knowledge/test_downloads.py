"""Downloads: whole and in part, under safe names (knowledge.md 2.3, RFC 9110)."""

import pytest

from routers.downloads import Stretch, disposition, wanted_stretch
from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, make_dataset, upload

DATA = bytes(range(256)) * 40


@pytest.fixture
async def path(api: Api) -> str:
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("a.txt", DATA))
    return f"/datasets/{dataset['id']}/documents/{document['id']}"


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [
        ("bytes=0-0", 0, 0),
        ("bytes=10-19", 10, 19),
        ("bytes=10000-", 10_000, 10_239),
        ("bytes=-5", 10_235, 10_239),
        ("bytes=-999999", 0, 10_239),
        ("bytes=5-999999999999", 5, 10_239),
        ("Bytes= 1 - 2", 1, 2),
    ],
)
@pytest.mark.promise("2.3-range")
async def test_a_part_is_sent(api: Api, path: str, header: str, first: int, last: int) -> None:
    answer = await api.raw("GET", path, headers={"Range": header})

    assert answer.status_code == 206
    assert answer.content == DATA[first : last + 1]
    assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(DATA)}"
    assert answer.headers["content-length"] == str(last - first + 1)


@pytest.mark.parametrize("header", ["bytes=0-1,3-4", "lines=1-2", "bytes=x-y", "bytes=-", "bytes=5-2", "", "bytes=²-3"])
@pytest.mark.promise("2.3-range-ignored")
async def test_other_ranges_get_the_whole(api: Api, path: str, header: str) -> None:
    answer = await api.raw("GET", path, headers={"Range": header.encode("latin-1", "replace")})

    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize("header", ["bytes=10240-", "bytes=99999-100000", "bytes=-0"])
@pytest.mark.promise("2.3-range-unsatisfiable")
async def test_a_range_outside_is_told(api: Api, path: str, header: str) -> None:
    answer = await api.raw("GET", path, headers={"Range": header})

    assert (answer.status_code, answer.json()["code"]) == (416, 102)
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


@pytest.mark.promise("2.3-etag", "2.3-if-range")
async def test_parts_belong_to_what_the_client_has(api: Api, path: str) -> None:
    whole = await api.raw("GET", path)
    tag, date = whole.headers["etag"], whole.headers["last-modified"]

    for wanted, status in ((tag, 206), (date, 206), ('"other"', 200)):
        answer = await api.raw("GET", path, headers={"Range": "bytes=0-3", "If-Range": wanted})
        assert answer.status_code == status, wanted
    assert (tag[0], tag[-1]) == ('"', '"'), "a strong one"
    for header in (tag, "*"):
        unchanged = await api.raw("GET", path, headers={"If-None-Match": header})
        assert (unchanged.status_code, unchanged.content, unchanged.headers["etag"]) == (304, b"", tag)
    changed = await api.raw("GET", path, headers={"If-None-Match": '"other"'})
    assert (changed.status_code, changed.content) == (200, DATA)
    [other] = await upload(api, path.split("/")[2], ("b.txt", DATA))
    answer = await api.raw("GET", f"{path.rpartition('/')[0]}/{other['id']}", headers={"If-None-Match": tag})
    assert answer.status_code == 200
    assert answer.headers["etag"] != tag


@pytest.mark.parametrize(
    ("name", "plain", "encoded"),
    [
        ("a b.txt", "a b.txt", "a%20b.txt"),
        ('q"u;o\\te.txt', "q_u;o_te.txt", "q%22u%3Bo%5Cte.txt"),
        ("日本.txt", "__.txt", "%E6%97%A5%E6%9C%AC.txt"),
        ("a\r\nX: y.txt", "a__X_ y.txt", "a%0D%0AX%3A%20y.txt"),
        ("100%41.txt", "100_41.txt", "100%2541.txt"),
    ],
)
@pytest.mark.promise("2.3-disposition")
def test_names_are_safe_in_the_header(name: str, plain: str, encoded: str) -> None:
    assert disposition(name) == f"attachment; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
    assert disposition(name).isascii()


def test_stretches_are_never_empty() -> None:
    assert wanted_stretch("bytes=0-", 1) == Stretch(0, 0)
    assert wanted_stretch("bytes=1-", 1) == "none"
    assert wanted_stretch(None, 1) == "whole"


@pytest.mark.promise("2.3-not-owner", "2.3-not-in-dataset", "2.3-empty")
async def test_what_is_not_there_is_told(api: Api, rival: Api) -> None:
    dataset = await make_dataset(api)
    full, empty = await upload(api, dataset["id"], ("a.txt", b"x"), ("e.txt", b""))
    path = f"/datasets/{dataset['id']}/documents"

    assert await rival.refusal("GET", f"{path}/{full['id']}") == missing(f"You do not own the dataset {dataset['id']}.")
    unknown = f"/datasets/nope/documents/{full['id']}"
    assert await api.refusal("GET", unknown) == missing("You do not own the dataset nope.")
    assert await api.refusal("GET", f"{path}/nope") == missing("The dataset not own the document nope.")
    other = (await make_dataset(api))["id"]
    assert await api.refusal("GET", f"/datasets/{other}/documents/{full['id']}") == missing(
        f"The dataset not own the document {full['id']}."
    )
    for where in (f"{path}/{empty['id']}", f"/documents/{empty['id']}", f"/documents/{empty['id']}/preview"):
        assert await api.refusal("GET", where) == invalid("This file is empty.")


@pytest.mark.promise("2.3-by-document", "2.3-preview")
async def test_a_document_is_found_without_its_dataset(api: Api, rival: Api) -> None:
    dataset = await make_dataset(api)
    files = [("a.html", b"<p>x"), ("a.kt", b"fun"), ("a.pdf", b"%PDF"), ("a.png", b"x")]
    page, odd, pdf, png = await upload(api, dataset["id"], *files)

    whole = await api.raw("GET", f"/documents/{page['id']}")
    assert (whole.content, whole.headers["content-type"]) == (b"<p>x", "application/octet-stream")
    assert whole.headers["content-disposition"].startswith('attachment; filename="a.html"')
    assert (await api.refusal("GET", "/documents/nope")) == missing("The dataset not own the document nope.")
    assert (await rival.refusal("GET", f"/documents/{page['id']}"))[:2] == (404, 105)
    assert (await rival.refusal("GET", f"/documents/{page['id']}/preview"))[:2] == (404, 105)
    shown = await api.raw("GET", f"/documents/{page['id']}/preview", headers={"Range": "bytes=0-2"})
    assert (shown.status_code, shown.content) == (206, b"<p>")
    assert shown.headers["content-type"].startswith("text/html")
    assert shown.headers["content-disposition"].startswith("inline;")
    assert shown.headers["content-security-policy"].split("; ")[:2] == ["sandbox", "default-src 'none'"]
    assert "script" not in shown.headers["content-security-policy"]
    assert shown.headers["x-content-type-options"] == "nosniff"
    for document, kind in ((pdf, "application/pdf"), (png, "image/png")):
        seen = await api.raw("GET", f"/documents/{document['id']}/preview")
        assert seen.headers["content-type"] == kind
    other = await api.raw("GET", f"/documents/{odd['id']}/preview")
    assert other.headers["content-type"].split(";")[0] in ("application/octet-stream", "text/x-kotlin")


@pytest.mark.promise("2.3-bytes-gone")
async def test_lost_bytes_are_told_before_anything_is_sent(world: World, api: Api, path: str) -> None:
    [row] = await world.rows(api, "SELECT blob_key FROM documents")
    await world.blobs.delete(row.blob_key)

    assert (await api.refusal("GET", path))[:2] == (404, 105)
