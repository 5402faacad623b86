"""Files renamed, moved and deleted (knowledge.md 6)."""

from typing import Any

import anyio
import pytest

from app.domain.files import knowledge_id, root_id
from app.ingest.blobs import BlobMissing
from tests.chats.world import Api, invalid, missing
from tests.knowledge.files_world import documents, link, mkdir, names, put
from tests.knowledge.world import World, assert_exact_counters, make_dataset, parse, shown, upload


@pytest.mark.promise("6-rm")
async def test_a_folder_goes_with_all_in_it_and_the_documents_made_of_it(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    outer = await mkdir(api, "outer")
    inner = await mkdir(api, "inner", outer)
    [deep] = await put(api, ("deep.txt", b"one two"), folder=inner)
    [kept] = await put(api, ("kept.txt", b"three"))
    await link(api, [outer, kept["id"]], dataset["id"])
    found = await api.ok("GET", f"/datasets/{dataset['id']}/documents")
    await parse(api, dataset["id"], *[document["id"] for document in found["docs"]])
    await world.work()
    keys = [row.blob_key for row in await world.rows(api, "SELECT blob_key FROM documents WHERE name = 'deep.txt'")]
    keys.append(f"{api.tenant_id}/files/{deep['id']}")

    assert await api.ok("POST", "/file/rm", json={"file_ids": [outer, inner, deep["id"], outer]}) is True
    assert await names(api) == [".knowledgebase", "kept.txt"]
    assert await documents(api, dataset["id"]) == ["kept.txt"]
    for key in keys:
        with pytest.raises(BlobMissing):
            await world.blobs.get(key)
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []
    assert len(await world.rows(api, "SELECT 1 FROM file_links")) == 1
    await assert_exact_counters(world, api)


@pytest.mark.promise("6-rm")
async def test_a_documents_file_goes_with_its_document(world: World, api: Api) -> None:
    dataset = await make_dataset(api)
    one, _ = await upload(api, dataset["id"], ("a.txt", b"x"), ("b.txt", b"x"))
    await api.ok("POST", "/file/rm", json={"file_ids": [one["id"]]})
    assert await documents(api, dataset["id"]) == ["b.txt"]
    await assert_exact_counters(world, api)


@pytest.mark.promise("6-rm-refusals")
async def test_nothing_goes_when_one_cannot(api: Api) -> None:
    dataset = await make_dataset(api)
    [file] = await put(api, ("a.txt", b"x"))
    unknown = missing("File or Folder not found!")
    assert await api.refusal("POST", "/file/rm", json={"file_ids": [file["id"], "nope"]}) == unknown
    for folder in (root_id(api.tenant_id), knowledge_id(api.tenant_id), dataset["id"]):
        sent = {"file_ids": [file["id"], folder]}
        assert (await api.refusal("POST", "/file/rm", json=sent))[:2] == (400, 102)
    odd_bodies: list[Any] = [{}, {"file_ids": "x"}, {"file_ids": [7]}, {"file_ids": None}, []]
    for odd in odd_bodies:
        assert (await api.refusal("POST", "/file/rm", json=odd))[:2] == (400, 102)
    assert await api.ok("POST", "/file/rm", json={"file_ids": []}) is True
    assert await names(api) == [".knowledgebase", "a.txt"]


@pytest.mark.promise("6-rename")
async def test_a_file_and_the_documents_made_of_it_are_renamed(world: World, api: Api) -> None:
    one, two = await make_dataset(api), await make_dataset(api)
    [file] = await put(api, ("a.txt", b"one two"))
    await link(api, [file["id"]], one["id"], two["id"])
    [document] = (await api.ok("GET", f"/datasets/{one['id']}/documents"))["docs"]
    await parse(api, one["id"], document["id"])
    await world.work()

    assert await api.ok("POST", "/file/rename", json={"file_id": file["id"], "name": "harbour.TXT"}) is True
    await world.work()
    assert await names(api) == [".knowledgebase", "harbour.TXT"]
    assert await documents(api, one["id"]) == await documents(api, two["id"]) == ["harbour.TXT"]
    path = f"/datasets/{one['id']}/documents/{document['id']}/chunks"
    assert (await api.ok("GET", path, params={"keywords": "harbour"}))["total"] == 1


@pytest.mark.promise("6-rename")
async def test_folders_and_documents_files_are_renamed(api: Api) -> None:
    folder = await mkdir(api, "old.x")
    await api.ok("POST", "/file/rename", json={"file_id": folder, "name": "New"})
    await api.ok("POST", "/file/rename", json={"file_id": folder, "name": "new"})
    assert await names(api) == [".knowledgebase", "new"]
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("a.txt", b"x"))
    await api.ok("POST", "/file/rename", json={"file_id": document["id"], "name": "b.txt"})
    assert (await shown(api, dataset["id"], document["id"]))["name"] == "b.txt"


@pytest.mark.promise("6-rename-refusals")
async def test_names_that_cannot_be_given(api: Api) -> None:
    dataset = await make_dataset(api)
    folder = await mkdir(api, "in")
    [file, _] = await put(api, ("a.txt", b"x"), ("b.txt", b"x"))
    await put(api, ("c.txt", b"x"), folder=folder)
    await upload(api, dataset["id"], ("taken.txt", b"x"))
    await link(api, [file["id"]], dataset["id"])

    async def refused(file_id: Any, name: Any) -> tuple[int, int, str]:
        return await api.refusal("POST", "/file/rename", json={"file_id": file_id, "name": name})

    assert await refused("nope", "x") == missing("File not found!")
    assert await refused(file["id"], "a.md") == invalid("The extension of file can't be changed")
    assert await refused(file["id"], "B.txt") == invalid("Duplicated file name in the same folder.")
    assert await refused(folder, "a.TXT") == invalid("Duplicated file name in the same folder.")
    assert await refused(folder, ".knowledgebase") == invalid("Duplicated file name in the same folder.")
    assert await refused(file["id"], "Taken.txt") == invalid("Duplicated document name in the same dataset.")
    for name in ("", "../b.txt", "é" * 128 + ".txt", None, 7):
        assert (await refused(file["id"], name))[:2] == (400, 102), name
    for fixed in (root_id(api.tenant_id), knowledge_id(api.tenant_id), dataset["id"]):
        assert (await refused(fixed, "x"))[:2] == (400, 102)
    assert await names(api) == [".knowledgebase", "a.txt", "b.txt", "in"]
    assert await documents(api, dataset["id"]) == ["taken.txt", "a.txt"]
    await api.ok("POST", "/file/rename", json={"file_id": file["id"], "name": "c.txt"})


@pytest.mark.promise("6-mv")
async def test_files_and_folders_move_together(api: Api) -> None:
    source, target = await mkdir(api, "source"), await mkdir(api, "target")
    inner = await mkdir(api, "inner", source)
    [file] = await put(api, ("a.txt", b"x"), folder=source)
    sent = {"src_file_ids": [file["id"], inner], "dest_file_id": target}
    assert await api.ok("POST", "/file/mv", json=sent) is True
    assert (await names(api, source), await names(api, target)) == ([], ["a.txt", "inner"])
    await api.ok("POST", "/file/mv", json={"src_file_ids": [inner], "dest_file_id": root_id(api.tenant_id)})
    assert await names(api) == [".knowledgebase", "inner", "source", "target"]
    await api.ok("POST", "/file/mv", json={"src_file_ids": [inner], "dest_file_id": root_id(api.tenant_id)})


@pytest.mark.promise("6-mv-refusals", "6-no-cycles")
async def test_moves_that_cannot_be_made_move_nothing(api: Api) -> None:
    dataset = await make_dataset(api)
    [document] = await upload(api, dataset["id"], ("d.txt", b"x"))
    outer, other = await mkdir(api, "outer"), await mkdir(api, "other")
    inner = await mkdir(api, "inner", outer)
    [file] = await put(api, ("a.txt", b"x"), folder=outer)
    await put(api, ("A.TXT", b"x"), folder=other)

    async def refused(files: Any, folder: Any) -> tuple[int, int, str]:
        return await api.refusal("POST", "/file/mv", json={"src_file_ids": files, "dest_file_id": folder})

    cycle = invalid("A folder can't be moved into itself or into a folder below it.")
    assert await refused([outer], outer) == await refused([outer], inner) == cycle
    assert await refused([inner, file["id"]], other) == invalid("Duplicated file name in the same folder.")
    for folder in ("nope", file["id"], "", None):
        assert await refused([inner], folder) == missing("Parent Folder not found!")
    assert await refused([inner, "nope"], other) == missing("File or Folder not found!")
    for folder in (knowledge_id(api.tenant_id), dataset["id"]):
        assert (await refused([inner], folder))[:2] == (400, 102)
    for fixed in (root_id(api.tenant_id), knowledge_id(api.tenant_id), dataset["id"], document["id"]):
        assert (await refused([fixed], other))[:2] == (400, 102)
    for odd in ({}, {"src_file_ids": 7, "dest_file_id": other}, {"src_file_ids": [], "dest_file_id": 7}):
        assert (await api.refusal("POST", "/file/mv", json=odd))[:2] == (400, 102)
    assert await names(api, outer) == ["a.txt", "inner"]
    assert await names(api, other) == ["A.TXT"]


@pytest.mark.promise("6-no-cycles")
async def test_two_moves_at_once_make_no_circle(api: Api) -> None:
    for _ in range(5):
        one, two = await mkdir(api, "one"), await mkdir(api, "two")
        statuses: list[int] = []

        async def move(file: str, folder: str, statuses: list[int] = statuses) -> None:
            sent = {"src_file_ids": [file], "dest_file_id": folder}
            statuses.append((await api.raw("POST", "/file/mv", json=sent)).status_code)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(move, one, two)
            tasks.start_soon(move, two, one)
        assert sorted(statuses) == [200, 400]
        for each in (one, two):
            found = (await api.ok("GET", f"/files/{each}/ancestors"))["parent_folders"]
            assert found[-1]["name"] == "/"
        await api.ok("POST", "/file/rm", json={"file_ids": [one, two]})


@pytest.mark.promise("6-rm")
async def test_an_upload_into_a_folder_that_is_being_deleted_leaves_no_orphan(world: World, api: Api) -> None:
    for _ in range(5):
        folder = await mkdir(api, "in")
        statuses: list[int] = []

        async def take(folder: str = folder, statuses: list[int] = statuses) -> None:
            sent: Any = {"files": [("file", ("x/a.txt", b"x"))], "data": {"parent_id": folder}}
            statuses.append((await api.raw("POST", "/file/upload", **sent)).status_code)

        async def drop(folder: str = folder) -> None:
            await api.ok("POST", "/file/rm", json={"file_ids": [folder]})

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(take)
            tasks.start_soon(drop)
        assert statuses[0] in (200, 404)
    assert await world.rows(api, "SELECT 1 FROM files") == []
    assert await world.rows(api, "SELECT 1 FROM stray_blobs") == []
