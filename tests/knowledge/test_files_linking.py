"""Documents made of files (knowledge.md 6 convert)."""

import anyio
import pytest

from app.domain.files import root_id
from app.ingest.blobs import BlobMissing
from tests.chats.world import Api, invalid, missing
from tests.knowledge.files_world import documents, link, mkdir, put
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parsed, upload


@pytest.mark.promise("6-convert", "6-kbs-info")
async def test_each_file_becomes_a_document_of_each_dataset(world: World, api: Api) -> None:
    one, two = (await make_dataset(api))["id"], (await make_dataset(api))["id"]
    folder = await mkdir(api, "in")
    [inside] = await put(api, ("sub/b.txt", b"bb"), folder=folder)
    [file] = await put(api, ("a.pptx", b"a"))
    links = await link(api, [file["id"], folder], one, two)

    assert [each["file_id"] for each in links] == [inside["id"]] * 2 + [file["id"]] * 2
    assert set(links[0]) == {
        "id", "file_id", "document_id", "create_time", "create_date", "update_time", "update_date",
    }  # fmt: skip
    assert len({each["document_id"] for each in links}) == 4
    for at, dataset_id in enumerate((one, two)):
        found = (await api.ok("GET", f"/datasets/{dataset_id}/documents"))["docs"]
        assert {each["name"]: each["id"] for each in found} == {
            "b.txt": links[at]["document_id"], "a.pptx": links[2 + at]["document_id"],
        }  # fmt: skip
        assert sorted((each["name"], each["size"], each["chunk_method"], each["run"]) for each in found) == [
            ("a.pptx", 1, "presentation", "UNSTART"),
            ("b.txt", 2, "naive", "UNSTART"),
        ]
        assert (await api.ok("GET", f"/datasets/{dataset_id}"))["document_count"] == 2
    await assert_exact_counters(world, api)
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("6-convert-replaces")
async def test_links_are_replaced_and_those_that_stay_keep_their_document(world: World, api: Api) -> None:
    one, two, three = [(await make_dataset(api))["id"] for _ in range(3)]
    [file] = await put(api, ("a.txt", b"some text"))
    first = await link(api, [file["id"]], one, two)
    kept = first[1]["document_id"]
    await api.ok("POST", f"/datasets/{two}/chunks", json={"document_ids": [kept]})
    await world.work()
    second = await link(api, [file["id"]], three, two, three)

    assert [await documents(api, each) for each in (one, two, three)] == [[], ["a.txt"], ["a.txt"]]
    assert (second[1]["document_id"], len(second)) == (kept, 2)
    assert (await api.ok("GET", f"/datasets/{two}"))["chunk_count"] == 1
    assert await link(api, [file["id"]]) == []
    assert [await documents(api, each) for each in (one, two, three)] == [[], [], []]
    await assert_exact_counters(world, api)
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("6-bytes-apart")
async def test_file_and_document_have_bytes_of_their_own(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [file, other] = await put(api, ("a.txt", b"aaa"), ("b.txt", b"bbb"))
    links = {each["file_id"]: each["document_id"] for each in await link(api, [file["id"], other["id"]], dataset_id)}
    path = f"/datasets/{dataset_id}/documents"

    await api.ok("DELETE", path, json={"ids": [links[file["id"]]]})
    assert (await api.raw("GET", f"/file/get/{file['id']}")).content == b"aaa"
    [listed] = (await api.ok("GET", "/file/list", params={"keywords": "a.txt"}))["files"]
    assert listed["kbs_info"] == []
    assert (await api.raw("GET", f"{path}/{links[other['id']]}")).content == b"bbb"
    await api.ok("DELETE", "/datasets", json={"ids": [dataset_id]})
    assert (await api.raw("GET", f"/file/get/{other['id']}")).content == b"bbb"


@pytest.mark.promise("6-convert")
async def test_a_taken_name_in_the_dataset_is_counted_on(api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    await upload(api, dataset_id, ("a.txt", b"x"))
    [file] = await put(api, ("a.txt", b"y"))
    await link(api, [file["id"]], dataset_id)
    assert await documents(api, dataset_id) == ["a.txt", "a(1).txt"]


@pytest.mark.promise("6-convert-refusals")
async def test_what_cannot_be_linked_changes_nothing(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [document] = await parsed(world, api, dataset_id, ("d.txt", b"text"))
    [file, odd] = await put(api, ("a.txt", b"x"), ("a.exe", b"x"))
    await link(api, [file["id"]], dataset_id)

    async def refused(files: object, datasets: object) -> tuple[int, int, str]:
        return await api.refusal("POST", "/file/convert", json={"file_ids": files, "kb_ids": datasets})

    assert await refused([file["id"], "nope"], []) == missing("File not found!")
    assert await refused([file["id"]], [dataset_id, "nope"]) == missing("Can't find this knowledgebase!")
    unfit = invalid("a.exe: This type of file has not been supported yet!")
    assert await refused([odd["id"]], [dataset_id]) == unfit
    for fixed in (root_id(api.tenant_id), dataset_id, document["id"]):
        assert (await refused([fixed], [dataset_id]))[:2] == (400, 102)
    for wrong in ("x", None, [7]):
        assert (await refused(wrong, [dataset_id]))[:2] == (400, 102)
        assert (await refused([file["id"]], wrong))[:2] == (400, 102)
    assert await documents(api, dataset_id) == ["d.txt", "a.txt"]
    await assert_exact_counters(world, api)


@pytest.mark.promise("6-convert-concurrent")
async def test_the_same_link_made_twice_at_once_is_one_document(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [file] = await put(api, ("a.txt", b"x"))
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(link, api, [file["id"]], dataset_id)
    assert await documents(api, dataset_id) == ["a.txt"]
    await assert_exact_counters(world, api)
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []


@pytest.mark.promise("6-bytes-apart")
async def test_bytes_that_are_gone_make_no_document(world: World, api: Api) -> None:
    dataset_id = (await make_dataset(api))["id"]
    [file] = await put(api, ("a.txt", b"x"))
    key = f"{api.tenant_id}/files/{file['id']}"
    await world.blobs.delete(key)
    with pytest.raises(BlobMissing):
        await world.blobs.get(key)
    sent = {"file_ids": [file["id"]], "kb_ids": [dataset_id]}
    assert await api.refusal("POST", "/file/convert", json=sent) == missing("The stored file is gone.")
    assert await documents(api, dataset_id) == []
    await assert_exact_counters(world, api)
