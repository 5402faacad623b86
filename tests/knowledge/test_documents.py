"""Documents: upload, download, delete (knowledge.md 2.1 to 2.5)."""

from typing import Any

import pytest

from tests.chats.world import Api, invalid, missing
from tests.knowledge.world import (
    World,
    assert_exact_counters,
    make_dataset,
    parse,
    parsed,
    shown,
    stored_blobs,
    upload,
)


@pytest.mark.promise("2.1-order", "2.1-types", "2.1-methods", "2.1-config-copied", "2.1-empty-file", "2.1-counts")
@pytest.mark.promise("2.1-answer-object")
async def test_an_upload_answers_with_its_documents_in_order(world: World, api: Api) -> None:
    """knowledge.md 2.1, 2.8."""
    config = {"chunk_token_num": 77, "raptor": {"use_raptor": False, "max_token": 9}}
    dataset = await make_dataset(api, chunk_method="qa", parser_config=config)
    files = [
        ("b.TXT", b"two"),
        ("a.md", b""),
        ("c.pdf", b"%PDF"),
        ("d.pptx", b"x"),
        ("e.png", b"x"),
    ]

    made = await upload(api, dataset["id"], *files)
    made += await upload(api, dataset["id"], ("g.mp3", b"x"), ("f.eml", b"x"))

    assert [(each["name"], each["type"], each["suffix"], each["chunk_method"], each["size"]) for each in made] == [
        ("b.TXT", "doc", "txt", "qa", 3),
        ("a.md", "doc", "md", "qa", 0),
        ("c.pdf", "pdf", "pdf", "qa", 4),
        ("d.pptx", "doc", "pptx", "presentation", 1),
        ("e.png", "visual", "png", "picture", 1),
        ("g.mp3", "aural", "mp3", "audio", 1),
        ("f.eml", "doc", "eml", "email", 1),
    ]
    for each in made:
        assert each["parser_config"] == dataset["parser_config"]
        assert (each["dataset_id"], each["location"], each["created_by"]) == (
            dataset["id"], each["name"], api.tenant_id,
        )  # fmt: skip
        assert (each["source_type"], each["thumbnail"], each["pipeline_id"]) == ("local", "", None)
        assert (each["run"], each["progress"], each["chunk_count"], each["token_count"], each["status"]) == (
            "UNSTART", 0, 0, 0, "1",
        )  # fmt: skip
    assert dataset["parser_config"]["chunk_token_num"] == 77
    assert (await api.ok("GET", f"/datasets/{dataset['id']}"))["document_count"] == 7
    await assert_exact_counters(world, api)
    await api.ok("PUT", f"/datasets/{dataset['id']}", json={"parser_config": {"chunk_token_num": 5}})
    [later] = await upload(api, dataset["id"], ("h.txt", b"x"))
    assert later["parser_config"]["chunk_token_num"] == 5
    assert (await shown(api, dataset["id"], made[0]["id"]))["parser_config"] == dataset["parser_config"]


@pytest.mark.promise("2.1-same-name")
async def test_a_taken_file_name_is_counted_on(api: Api) -> None:
    """knowledge.md 2.1: within a request and across requests, ignoring case."""
    dataset = await make_dataset(api)
    first = await upload(api, dataset["id"], ("a.txt", b"1"), ("A.txt", b"2"))
    second = await upload(api, dataset["id"], ("a.txt", b"3"))

    assert [each["name"] for each in (*first, *second)] == ["a.txt", "A(1).txt", "a(2).txt"]
    dotted = await upload(api, dataset["id"], ("É.x.txt", b"1"), ("é.x.txt", b"2"), ("a.md", b"3"))
    assert [each["name"] for each in dotted] == ["É.x.txt", "é.x(1).txt", "a.md"]
    other = await upload(api, (await make_dataset(api))["id"], ("a.txt", b"4"))
    assert other[0]["name"] == "a.txt"


@pytest.mark.promise("2.1-unsupported")
async def test_refused_files_are_told_and_the_others_stay(api: Api) -> None:
    """knowledge.md 2.1 P: `data` holds the stored ones."""
    dataset = await make_dataset(api)
    files = [("file", (name, b"x")) for name in ("a.exe", "b.txt", "c.markdown", "plain", "d.md")]
    answer = await api.raw("POST", f"/datasets/{dataset['id']}/documents", files=files)
    body = answer.json()

    assert (answer.status_code, body["code"]) == (400, 102)
    assert body["message"] == (
        "a.exe: This type of file has not been supported yet!\n"
        "c.markdown: This type of file has not been supported yet!\n"
        "plain: This type of file has not been supported yet!"
    )
    assert [each["name"] for each in body["data"]] == ["b.txt", "d.md"]
    listed = await api.ok("GET", f"/datasets/{dataset['id']}/documents", params={"desc": "false"})
    assert [each["id"] for each in listed["docs"]] == [each["id"] for each in body["data"]]
    assert await api.refusal("POST", f"/datasets/{dataset['id']}/documents", files=files[:1]) == invalid(
        "a.exe: This type of file has not been supported yet!"
    )
    assert (await api.ok("GET", f"/datasets/{dataset['id']}"))["document_count"] == 2


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

    most = 1024 * 1024  # of a file here; five files
    small = [("file", ("a.txt", b"x"))]
    large = [("file", ("b.txt", b"x" * (most + 1)))]
    many = [("file", (f"{number}.txt", b"x")) for number in range(6)]
    streamed = {"content": endless(), "headers": {"Content-Type": "multipart/form-data; boundary=B"}}
    for more in ({"files": [*small, *large]}, {"files": many}, streamed):
        assert (await api.refusal("POST", path, **more))[:2] == (413, 102)
    assert await world.rows(api, "SELECT 1 FROM documents") == []
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []
    assert stored_blobs(world) == []
    [fits] = await api.ok("POST", path, files=[("file", ("b.txt", b"x" * most))])
    assert fits["size"] == most


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
    [full] = await upload(api, dataset["id"], ('ü "x".txt', data))
    path = f"/datasets/{dataset['id']}/documents"

    answer = await api.raw("GET", f"{path}/{full['id']}")

    assert (answer.status_code, answer.content) == (200, data)
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith(
        "attachment; filename=\"_ _22x_22.txt\"; filename*=UTF-8''%C3%BC%20"
    )
    broken = b"%PDF-1.4 cut off in the mid"
    [pdf] = await upload(api, dataset["id"], ("broken.pdf", broken))
    assert (await api.raw("GET", f"{path}/{pdf['id']}")).content == broken


@pytest.mark.promise("2.5-list", "2.5-unknown", "2.5-duplicates", "2.5-cascade", "2.5-only-this-dataset")
async def test_deleting_removes_rows_chunks_blobs_and_counts(world: World, api: Api) -> None:
    """knowledge.md 2.5."""
    dataset, other = await make_dataset(api), await make_dataset(api)
    files = [(f"{name}.txt", f"words of {name}".encode()) for name in "abcd"]
    a, b, c, d = await parsed(world, api, dataset["id"], *files)
    [kept] = await upload(api, other["id"], ("a.txt", b"one"))
    path = f"/datasets/{dataset['id']}/documents"

    async def left() -> set[str]:
        return {row.name for row in await world.rows(api, "SELECT name FROM documents")}

    assert await api.ok("DELETE", path, json={"ids": [a["id"]]}) is None
    assert await left() == {"a.txt", "b.txt", "c.txt", "d.txt"}, "one of that name is in the other dataset"
    assert not any(a["id"] in key for key in stored_blobs(world))
    unknown = {"ids": ["x", b["id"], kept["id"], "y"]}
    assert await api.refusal("DELETE", path, json=unknown) == missing(
        f"Documents not found: ['x', '{kept['id']}', 'y']"
    )
    assert await left() == {"a.txt", "c.txt", "d.txt"}
    await assert_exact_counters(world, api)
    twice = (await api.raw("DELETE", path, json={"ids": [c["id"], c["id"]]})).json()
    assert twice["code"] == 0
    assert twice["data"] == {"success_count": 1, "errors": [f"Duplicate document ids: {c['id']}"]}
    await parse(api, dataset["id"], d["id"])
    await world.rows(api, "UPDATE documents SET thumbnail = 'thumb.png' WHERE id = :id RETURNING 1", id=d["id"])
    await world.blobs.put(f"{api.tenant_id}/{dataset['id']}/images/thumb.png", b"a picture")
    await api.ok("DELETE", path, json={"ids": [d["id"]]})
    assert (await api.ok("GET", f"/datasets/{dataset['id']}"))["document_count"] == 0
    await assert_exact_counters(world, api)
    for table in ("chunks", "sections", "stray_blobs"):
        assert await world.rows(api, f"SELECT 1 FROM {table}") == [], table  # noqa: S608
    states = await world.rows(api, "SELECT state FROM jobs WHERE subject_id = :id ORDER BY created_at", id=d["id"])
    assert [row.state for row in states] == ["done", "cancelled"]
    assert stored_blobs(world) == [f"{api.tenant_id}/{other['id']}/{kept['id']}"]


ALL: list[dict[str, Any]] = [{}, {"ids": None}, {"ids": []}, {"delete_all": True}, {"ids": [], "odd": 1}]


@pytest.mark.parametrize("sent", [{}, {"content": b"null"}, *({"json": body} for body in ALL)])
@pytest.mark.promise("2.5-all", "2.5-delete-all-false", "2.5-only-this-dataset", "2.5-access", "2.5-bodies")
async def test_deleting_without_ids_deletes_all_of_this_dataset(
    world: World, api: Api, rival: Api, sent: dict[str, Any]
) -> None:
    """knowledge.md 2.5: none, null, {} and []."""
    dataset, other = await make_dataset(api), await make_dataset(api)
    await upload(api, dataset["id"], ("a.txt", b"1"), ("b.txt", b"1"))
    [kept] = await upload(api, other["id"], ("a.txt", b"1"))
    path = f"/datasets/{dataset['id']}/documents"

    neither = invalid(f"should either provide doc ids or set delete_all(true), dataset: {dataset['id']}. ")
    refused: list[dict[str, Any]] = [{"delete_all": False}, {"ids": [], "delete_all": False}]
    for body in refused:
        assert await api.refusal("DELETE", path, json=body) == neither
    assert await api.refusal("DELETE", path, json={"ids": "x"}) == invalid("`ids` should be a list of strings")
    assert (await api.refusal("DELETE", path, json="x"))[:2] == (400, 102)
    assert (await api.refusal("DELETE", path, content=b"{"))[:2] == (400, 102)
    assert await rival.refusal("DELETE", path, **sent) == missing(f"You don't own the dataset {dataset['id']}. ")
    assert len(await world.rows(api, "SELECT id FROM documents")) == 3

    await api.ok("DELETE", path, **sent)

    assert [row.id for row in await world.rows(api, "SELECT id FROM documents")] == [kept["id"]]
