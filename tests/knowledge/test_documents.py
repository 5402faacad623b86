"""Documents: upload, list, download, delete (knowledge.md 2.1 to 2.5)."""

from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parsed, upload


@pytest.mark.promise("2.1-order", "2.1-types", "2.1-methods", "2.1-config-copied", "2.1-empty-file", "2.1-counts")
async def test_an_upload_answers_with_its_documents_in_order(world: World, api: Api) -> None:
    """knowledge.md 2.1, 2.8."""
    dataset = await make_dataset(api)
    files = [
        ("b.txt", b"two"),
        ("a.md", b""),
        ("c.pdf", b"%PDF"),
        ("d.pptx", b"x"),
        ("e.png", b"x"),
    ]

    made = await upload(api, dataset["id"], *files)

    assert [(each["name"], each["type"], each["chunk_method"], each["size"]) for each in made] == [
        ("b.txt", "doc", "naive", 3),
        ("a.md", "doc", "naive", 0),
        ("c.pdf", "pdf", "naive", 4),
        ("d.pptx", "doc", "presentation", 1),
        ("e.png", "visual", "picture", 1),
    ]
    assert {(each["run"], each["progress"], each["chunk_count"], each["status"]) for each in made} == {
        ("UNSTART", 0, 0, "1")
    }
    assert made[0]["parser_config"] == dataset["parser_config"]
    assert (await api.ok("GET", f"/datasets/{dataset['id']}"))["document_count"] == 5
    await assert_exact_counters(world, api)


@pytest.mark.promise("2.1-same-name")
async def test_a_taken_file_name_is_counted_on(api: Api) -> None:
    """knowledge.md 2.1: within a request and across requests, ignoring case."""
    dataset = await make_dataset(api)
    first = await upload(api, dataset["id"], ("a.txt", b"1"), ("A.txt", b"2"))
    second = await upload(api, dataset["id"], ("a.txt", b"3"))

    assert [each["name"] for each in (*first, *second)] == ["a.txt", "A(1).txt", "a(2).txt"]


@pytest.mark.promise("2.1-unsupported")
async def test_refused_files_are_told_and_the_others_stay(api: Api) -> None:
    """knowledge.md 2.1 P: `data` holds the stored ones."""
    dataset = await make_dataset(api)
    files = [("file", (name, b"x")) for name in ("a.exe", "b.txt", "c.markdown")]
    answer = await api.raw("POST", f"/datasets/{dataset['id']}/documents", files=files)
    body = answer.json()

    assert (answer.status_code, body["code"]) == (400, 102)
    assert body["message"] == (
        "a.exe: This type of file has not been supported yet!\n"
        "c.markdown: This type of file has not been supported yet!"
    )
    assert [each["name"] for each in body["data"]] == ["b.txt"]


@pytest.mark.parametrize(
    ("sent", "message"),
    [
        ({"files": [("other", ("a.txt", b"x"))]}, "No file part!"),
        ({"data": {"file": "text"}}, "No file part!"),
        ({"json": {}}, "No file part!"),
        ({"files": [("file", ("é" * 130 + ".txt", b"x"))]}, "File name must be 255 bytes or less."),
        (
            {
                "content": b'--B\r\nContent-Disposition: form-data; name="file"; filename=""\r\n\r\nx\r\n--B--\r\n',
                "headers": {"Content-Type": "multipart/form-data; boundary=B"},
            },
            "No file selected!",
        ),
        (
            {"content": b"--B\r\nbroken", "headers": {"Content-Type": "multipart/form-data; boundary=B"}},
            None,
        ),
        ({"content": b"x", "headers": {"Content-Type": "multipart/form-data"}}, "Malformed multipart body."),
    ],
)
@pytest.mark.promise("2.1-no-file-part", "2.1-no-file-selected")
async def test_broken_uploads_are_refused(api: Api, sent: dict[str, Any], message: str | None) -> None:
    """knowledge.md 2.1."""
    dataset = await make_dataset(api)
    status, code, told = await api.refusal("POST", f"/datasets/{dataset['id']}/documents", **sent)

    assert (status, code) == (400, 102)
    assert message is None or told == message


@pytest.mark.promise("2.1-caps")
async def test_uploads_over_the_caps_are_too_large(world: World, api: Api) -> None:
    """operations.md 3: UPLOAD_MAX_BYTES and UPLOAD_MAX_FILES answer 413, and nothing is left."""
    path = f"/datasets/{(await make_dataset(api))['id']}/documents"

    async def endless() -> Any:
        yield b'--B\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
        while True:
            yield b"x" * 100_000

    large = [("file", ("a.txt", b"x" * 3 * 1024 * 1024))]
    many = [("file", (f"{number}.txt", b"x")) for number in range(6)]
    streamed = {"content": endless(), "headers": {"Content-Type": "multipart/form-data; boundary=B"}}
    for more in ({"files": large}, {"files": many}, streamed):
        assert (await api.refusal("POST", path, **more))[:2] == (413, 102)
    assert await world.rows(api, "SELECT 1 FROM documents") == []


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("../../etc/passwd.txt", "passwd.txt"),
        ("C:\\x\\y.txt", "y.txt"),
        ("a\nb.txt", "ab.txt"),
        ("日本 (x).txt", "日本 (x).txt"),
    ],
)
@pytest.mark.promise("2.1-blob-key")
async def test_names_cannot_point_anywhere(world: World, api: Api, sent: str, stored: str) -> None:
    """knowledge.md 2.1: the blob's key is made of ids alone."""
    dataset = await make_dataset(api)
    body = (
        b'--B\r\nContent-Disposition: form-data; name="file"; filename="' + sent.encode() + b'"\r\n\r\nx\r\n--B--\r\n'
    )
    if "\n" in sent:
        body = body.replace(b"\n" + b"b.txt", b"\x01b.txt")
    made = await api.ok(
        "POST",
        f"/datasets/{dataset['id']}/documents",
        content=body,
        headers={"Content-Type": "multipart/form-data; boundary=B"},
    )

    assert made[0]["name"] == stored
    [row] = await world.rows(api, "SELECT blob_key FROM documents")
    assert row.blob_key == f"{api.tenant_id}/{dataset['id']}/{made[0]['id']}"


@pytest.mark.promise("2.3-bytes")
async def test_a_download_is_the_upload_byte_for_byte(api: Api) -> None:
    """knowledge.md 2.3."""
    dataset = await make_dataset(api)
    data = bytes(range(256)) * 500
    full, empty = await upload(api, dataset["id"], ('ü "x".txt', data), ("e.txt", b""))
    path = f"/datasets/{dataset['id']}/documents"

    answer = await api.raw("GET", f"{path}/{full['id']}")

    assert answer.content == data
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith(
        "attachment; filename=\"_ _22x_22.txt\"; filename*=UTF-8''%C3%BC%20"
    )
    assert await api.refusal("GET", f"{path}/{empty['id']}") == invalid("This file is empty.")
    assert await api.refusal("GET", f"{path}/nope") == missing("The dataset not own the document nope.")
    assert await api.refusal("GET", f"/datasets/nope/documents/{full['id']}") == missing(
        "You do not own the dataset nope."
    )


@pytest.mark.promise("2.4-filters", "2.4-order", "2.4-paging", "2.4-total-ignores-times")
async def test_lists_are_filtered_ordered_and_paged(world: World, api: Api) -> None:
    """knowledge.md 2.4."""
    dataset = await make_dataset(api)
    path = f"/datasets/{dataset['id']}/documents"
    one, two, three = await upload(api, dataset["id"], ("One.txt", b"4444"), ("two.md", b"22"), ("three.txt", b"333"))

    async def names(**params: Any) -> tuple[int, list[str]]:
        found = await api.ok("GET", path, params=params)
        return found["total"], [each["name"] for each in found["docs"]]

    assert await names() == (3, ["three.txt", "two.md", "One.txt"])
    assert await names(desc=" False ") == (3, ["One.txt", "two.md", "three.txt"])
    assert await names(orderby="size", desc="x") == (3, ["One.txt", "three.txt", "two.md"])
    assert await names(orderby="name", desc="false") == (3, ["One.txt", "three.txt", "two.md"])
    assert await names(keywords="O") == (2, ["two.md", "One.txt"])
    assert await names(suffix=["md", "pdf"]) == (1, ["two.md"])
    assert await names(run=["0", "DONE", "odd"]) == (3, ["three.txt", "two.md", "One.txt"])
    assert await names(run="odd") == (0, [])
    assert await names(page=2, page_size=2) == (3, ["One.txt"])
    assert await names(page=0, page_size=0) == (3, [])
    assert await names(page=10**30) == (3, [])
    assert await names(id=two["id"], name="One.txt") == (0, [])
    assert await names(id="", name="") == (3, ["three.txt", "two.md", "One.txt"])
    assert await names(create_time_from=two["create_time"] + 10**9) == (3, [])
    assert await names(create_time_to=three["create_time"]) == (3, ["three.txt", "two.md", "One.txt"])
    assert (await api.ok("GET", path, params={"id": one["id"]}))["docs"][0]["title"] is None


@pytest.mark.parametrize(
    ("params", "refusal"),
    [
        ({"id": "nope"}, missing("You don't own the document nope.")),
        ({"name": "one.txt"}, missing("You don't own the document one.txt.")),
        ({"name": "\x00"}, missing("You don't own the document \ufffd.")),
        ({"orderby": "blob_key; --"}, None),
        ({"page": "x"}, None),
        ({"create_time_from": "x"}, None),
    ],
)
@pytest.mark.promise("2.4-unknown-id-or-name", "2.4-orderby", "2.4-numbers")
async def test_odd_lists_are_told_what_is_wrong(
    api: Api, params: dict[str, Any], refusal: tuple[int, int, str] | None
) -> None:
    """knowledge.md 2.4."""
    dataset = await make_dataset(api)
    await upload(api, dataset["id"], ("One.txt", b"1"))
    found = await api.refusal("GET", f"/datasets/{dataset['id']}/documents", params=params)

    assert found == refusal if refusal else found[:2] == (400, 102)


@pytest.mark.promise("2.4-access")
async def test_an_unknown_datasets_documents_are_missing(api: Api) -> None:
    """knowledge.md 2.4: the trailing blank is literal."""
    assert await api.refusal("GET", "/datasets/nope/documents") == missing("You don't own the dataset nope. ")


async def test_lists_of_documents_cost_the_same_however_many_there_are(world: World, api: Api) -> None:
    """No query per row, and no content is read."""
    dataset = await make_dataset(api)
    path = f"/datasets/{dataset['id']}/documents"
    await upload(api, dataset["id"], ("a.txt", b"1"))
    await api.ok("GET", path)
    with world.queries() as one:
        await api.ok("GET", path)
    await upload(api, dataset["id"], *[(f"{number}.txt", b"1") for number in range(5)])
    with world.queries() as many:
        await api.ok("GET", path)

    # the key may be looked up again in between: that is not of the list
    listed = [[each for each in seen if "api_keys" not in each] for seen in (one, many)]
    assert len(listed[0]) == len(listed[1]) <= 4
    assert not any("chunks " in statement or "sections" in statement for statement in many)


@pytest.mark.promise("2.5-list", "2.5-unknown", "2.5-duplicates", "2.5-cascade")
async def test_deleting_removes_rows_chunks_blobs_and_counts(world: World, api: Api) -> None:
    """knowledge.md 2.5."""
    dataset = await make_dataset(api)
    a, b, c = await parsed(world, api, dataset["id"], ("a.txt", b"one"), ("b.txt", b"two"), ("c.txt", b"three"))
    path = f"/datasets/{dataset['id']}/documents"
    [key] = await world.rows(api, "SELECT blob_key FROM documents WHERE id = :id", id=a["id"])

    assert await api.ok("DELETE", path, json={"ids": [a["id"]]}) is None
    with pytest.raises(Exception, match="gone"):
        await world.blobs.get(key.blob_key)
    assert await api.refusal("DELETE", path, json={"ids": ["x", b["id"]]}) == missing("Documents not found: ['x']")
    await assert_exact_counters(world, api)
    twice = (await api.raw("DELETE", path, json={"ids": [c["id"], c["id"]]})).json()
    assert twice["code"] == 0
    assert twice["data"] == {"success_count": 1, "errors": [f"Duplicate document ids: {c['id']}"]}
    assert (await api.ok("GET", f"/datasets/{dataset['id']}"))["document_count"] == 0
    await assert_exact_counters(world, api)


@pytest.mark.parametrize("body", [None, {}, {"ids": None}, {"ids": []}])
@pytest.mark.promise("2.5-all", "2.5-delete-all-false", "2.5-only-this-dataset")
async def test_deleting_without_ids_deletes_all_of_this_dataset(world: World, api: Api, body: Any) -> None:
    """knowledge.md 2.5: none, null, {} and []."""
    dataset, other = await make_dataset(api), await make_dataset(api)
    await upload(api, dataset["id"], ("a.txt", b"1"), ("b.txt", b"1"))
    [kept] = await upload(api, other["id"], ("a.txt", b"1"))
    path = f"/datasets/{dataset['id']}/documents"

    assert (await api.refusal("DELETE", path, json={"delete_all": False}))[:2] == (400, 102)
    assert len(await world.rows(api, "SELECT id FROM documents")) == 3

    await api.ok("DELETE", path, **({"json": body} if body is not None else {}))

    assert [row.id for row in await world.rows(api, "SELECT id FROM documents")] == [kept["id"]]
    assert await api.refusal("DELETE", path, json={"ids": "x"}) == invalid("`ids` should be a list of strings")
    assert (await api.refusal("DELETE", path, json="x"))[:2] == (400, 102)
    assert (await api.refusal("DELETE", path, content=b"{"))[:2] == (400, 102)
