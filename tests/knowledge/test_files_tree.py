"""The folder tree: shown, folders made (knowledge.md 6)."""

from collections.abc import Sequence
from typing import Any

import pytest

from app.domain.files import knowledge_id, root_id
from app.domain.ids import new_id
from tests.chats.world import Api, invalid, missing
from tests.knowledge.files_world import link, mkdir, names, put
from tests.knowledge.world import World, make_dataset, upload


@pytest.mark.promise("6-root", "6-file-object")
async def test_the_root_is_its_own_parent_and_stays_the_same(api: Api, rival: Api) -> None:
    root = (await api.ok("GET", "/file/root_folder"))["root_folder"]
    assert (root["id"], root["parent_id"], root["name"], root["type"]) == (root["id"], root["id"], "/", "folder")
    assert set(root) == {
        "id", "parent_id", "tenant_id", "created_by", "name", "location", "size", "type", "source_type",
        "create_time", "create_date", "update_time", "update_date",
    }  # fmt: skip
    assert root["tenant_id"] == api.tenant_id
    assert (await api.ok("GET", "/file/root_folder"))["root_folder"] == root
    assert (await rival.ok("GET", "/file/root_folder"))["root_folder"]["id"] != root["id"]
    assert len(root["id"]) == 32
    assert root["id"][12] == "1"


@pytest.mark.promise("6-knowledgebase")
async def test_datasets_and_their_documents_stand_in_knowledgebase(world: World, api: Api) -> None:
    dataset = await make_dataset(api, name="Ferries")
    [one] = await upload(api, dataset["id"], ("a.txt", b"12345"))
    [knowledge] = (await api.ok("GET", "/file/list"))["files"]

    assert (knowledge["name"], knowledge["source_type"], knowledge["size"]) == (".knowledgebase", "knowledgebase", 5)
    assert knowledge["has_child_folder"] is True
    [folder] = (await api.ok("GET", "/file/list", params={"parent_id": knowledge["id"]}))["files"]
    assert (folder["name"], folder["type"], folder["size"], folder["kbs_info"]) == ("Ferries", "folder", 5, [])
    found = await api.ok("GET", "/file/list", params={"parent_id": folder["id"]})
    [file] = found["files"]
    assert found["parent_folder"]["id"] == folder["id"]
    assert (file["name"], file["type"], file["size"], file["source_type"]) == ("a.txt", "doc", 5, "knowledgebase")
    assert file["kbs_info"] == [{"kb_id": dataset["id"], "kb_name": "Ferries"}]
    assert (await api.raw("GET", f"/file/get/{file['id']}")).content == b"12345"

    await api.ok("PUT", f"/datasets/{dataset['id']}", json={"name": "Boats"})
    assert await names(api, knowledge["id"]) == ["Boats"]
    await api.ok("DELETE", f"/datasets/{dataset['id']}/documents", json={"ids": [one["id"]]})
    assert await names(api, folder["id"]) == []
    await api.ok("DELETE", "/datasets", json={"ids": [dataset["id"]]})
    assert await names(api, knowledge["id"]) == []
    assert await api.refusal("GET", "/file/list", params={"parent_id": folder["id"]}) == missing("Folder not found!")


@pytest.mark.promise("6-list")
async def test_a_folder_is_listed_filtered_ordered_and_paged(api: Api) -> None:
    folder = await mkdir(api, "in")
    made = await put(api, ("b.txt", b"22"), ("A.pdf", b"1"), ("c.png", b"333"), folder=folder)

    async def listed(**params: Any) -> tuple[int, list[str]]:
        found = await api.ok("GET", "/file/list", params={"parent_id": folder, **params})
        assert found["parent_folder"]["id"] == folder
        return found["total"], [file["name"] for file in found["files"]]

    assert [file["type"] for file in made] == ["doc", "pdf", "visual"]
    assert await listed(orderby="size", desc="false") == (3, ["A.pdf", "b.txt", "c.png"])
    assert await listed(orderby="size", desc="true") == (3, ["c.png", "b.txt", "A.pdf"])
    assert await listed(orderby="size") == (3, ["c.png", "b.txt", "A.pdf"])
    assert await listed(orderby="type", desc="false") == (3, ["b.txt", "A.pdf", "c.png"])
    assert await listed(keywords="P", orderby="size") == (2, ["c.png", "A.pdf"])
    assert await listed(keywords="%") == (0, [])
    assert await listed(orderby="size", page=2, page_size=2) == (3, ["A.pdf"])
    assert await listed(page=0, page_size=0) == (3, [])
    assert await listed(page=10**30) == (3, [])
    assert sorted((await listed())[1]) == ["A.pdf", "b.txt", "c.png"]
    await api.ok("POST", "/file/rename", json={"file_id": made[1]["id"], "name": "B.pdf"})
    for orderby in ("update_time", "update_date"):
        assert (await listed(orderby=orderby))[1][0] == (await listed(orderby=orderby, desc="false"))[1][2] == "B.pdf"
    for odd in ({"page": "x"}, {"page_size": "-1"}, {"orderby": "blob_key; --"}):
        params = {"parent_id": folder, **odd}
        assert (await api.refusal("GET", "/file/list", params=params))[:2] == (400, 102)


@pytest.mark.promise("6-list")
async def test_fifteen_stand_on_a_page_by_default_the_newest_first(api: Api) -> None:
    for number in range(17):
        await mkdir(api, f"{number:02}")
    found = await api.ok("GET", "/file/list")
    assert (found["total"], len(found["files"]), found["files"][0]["name"]) == (18, 15, "16")


@pytest.mark.promise("6-recursive-size")
async def test_a_folder_tells_the_size_of_all_in_it_and_whether_it_holds_folders(api: Api) -> None:
    outer = await mkdir(api, "outer")
    inner = await mkdir(api, "inner", outer)
    deepest = await mkdir(api, "deepest", inner)
    await put(api, ("a.txt", b"1"), folder=outer)
    await put(api, ("b.txt", b"22"), folder=inner)
    await put(api, ("c.txt", b"333"), folder=deepest)

    async def folders(parent: str) -> list[tuple[str, int, bool]]:
        found = (await api.ok("GET", "/file/list", params={"parent_id": parent}))["files"]
        return [(file["name"], file["size"], file["has_child_folder"]) for file in found if file["type"] == "folder"]

    assert ("outer", 6, True) in await folders("")
    assert await folders(outer) == [("inner", 5, True)]
    assert await folders(inner) == [("deepest", 3, False)]
    assert "has_child_folder" not in (await api.ok("GET", "/file/list", params={"parent_id": deepest}))["files"][0]


@pytest.mark.promise("6-kbs-info")
async def test_a_file_tells_the_datasets_it_is_linked_to(api: Api) -> None:
    one, two = await make_dataset(api, name="One"), await make_dataset(api, name="Two")
    folder = await mkdir(api, "in")
    [file] = await put(api, ("a.txt", b"x"), folder=folder)
    await link(api, [file["id"]], one["id"], two["id"])
    [listed] = (await api.ok("GET", "/file/list", params={"parent_id": folder}))["files"]
    assert sorted(each["kb_name"] for each in listed["kbs_info"]) == ["One", "Two"]
    await api.ok("DELETE", "/datasets", json={"ids": [one["id"]]})
    [listed] = (await api.ok("GET", "/file/list", params={"parent_id": folder}))["files"]
    assert listed["kbs_info"] == [{"kb_id": two["id"], "kb_name": "Two"}]


@pytest.mark.promise("6-parents")
async def test_parents_lead_to_the_root(api: Api) -> None:
    outer = await mkdir(api, "outer")
    inner = await mkdir(api, "inner", outer)
    [file] = await put(api, ("a.txt", b"x"), folder=inner)
    dataset = await make_dataset(api, name="Ferries")
    [document] = await upload(api, dataset["id"], ("d.txt", b"x"))
    root = root_id(api.tenant_id)

    async def path(file_id: str) -> list[str]:
        found = (await api.ok("GET", "/file/all_parent_folder", params={"file_id": file_id}))["parent_folders"]
        assert found == (await api.ok("GET", f"/files/{file_id}/ancestors"))["parent_folders"]
        parent = (await api.ok("GET", "/file/parent_folder", params={"file_id": file_id}))["parent_folder"]
        assert parent == (await api.ok("GET", f"/files/{file_id}/parent"))["parent_folder"]
        assert parent["id"] == found[min(1, len(found) - 1)]["id"]
        return [folder["name"] for folder in found]

    assert await path(file["id"]) == ["a.txt", "inner", "outer", "/"]
    assert await path(outer) == ["outer", "/"]
    assert await path(root) == ["/"]
    assert await path(knowledge_id(api.tenant_id)) == [".knowledgebase", "/"]
    assert await path(dataset["id"]) == ["Ferries", ".knowledgebase", "/"]
    assert await path(document["id"]) == ["d.txt", "Ferries", ".knowledgebase", "/"]
    for route in ("/file/parent_folder", "/file/all_parent_folder"):
        for params in ({"file_id": "nope"}, {}):
            assert await api.refusal("GET", route, params=params) == missing("Folder not found!")


@pytest.mark.promise("6-create")
@pytest.mark.parametrize(
    ("kind", "made"), [("folder", "folder"), ("virtual", "virtual"), ("FOLDER", "virtual"), (None, "virtual")]
)
async def test_only_a_folder_is_made_a_folder(api: Api, kind: str | None, made: str) -> None:
    found = await api.ok("POST", "/file/create", json={"name": "x", "type": kind})
    assert (found["name"], found["type"], found["size"], found["location"]) == ("x", made, 0, "")
    assert found["parent_id"] == root_id(api.tenant_id)


@pytest.mark.promise("6-create")
async def test_folders_that_cannot_be_made(api: Api, rival: Api) -> None:
    folder, theirs = await mkdir(api, "Ünïcödé 🚢"), await mkdir(rival, "x")
    [file] = await put(api, ("a.txt", b"x"))
    no_parent = invalid("Parent Folder Doesn't Exist!")
    for parent in ("nope", theirs, file["id"], "\ufffd"):
        sent = {"name": "y", "type": "folder", "parent_id": parent}
        assert await api.refusal("POST", "/file/create", json=sent) == no_parent
    for name, parent in (("ünïcödé 🚢", ""), (".Knowledgebase", "")):
        sent = {"name": name, "type": "folder", "parent_id": parent}
        assert await api.refusal("POST", "/file/create", json=sent) == invalid(
            "Duplicated folder name in the same folder."
        )
    odd_names: list[Any] = ["", " ", ".", "..", "a/b", "../x", "é" * 128, None, 7, "\u0001"]
    for odd_name in odd_names:
        body = {"name": odd_name, "type": "folder", "parent_id": folder}
        assert (await api.refusal("POST", "/file/create", json=body))[:2] == (400, 102), odd_name
    for odd in ({"type": "folder"}, {"name": "x", "parent_id": 7}, {"name": "x", "type": []}):
        assert (await api.refusal("POST", "/file/create", json=odd))[:2] == (400, 102)
    for parent in (knowledge_id(api.tenant_id), (await make_dataset(api))["id"]):
        sent = {"name": "x", "type": "folder", "parent_id": parent}
        assert (await api.refusal("POST", "/file/create", json=sent))[:2] == (400, 102)
    assert await names(api, folder) == []


def calls_about(named: Sequence[str], own: dict[str, str]) -> list[tuple[str, str, Any]]:
    """Every call that names a folder, a file or a dataset; `own` names those of the caller."""
    folder, file, dataset = named
    return [
        *(("GET", f"/file/list?parent_id={each}", None) for each in (folder, dataset)),
        *(("GET", f"/files?parent_id={each}", None) for each in (folder, dataset)),
        *(
            ("GET", f"/file/{route}?file_id={each}", None)
            for route in ("parent_folder", "all_parent_folder")
            for each in (folder, file, dataset)
        ),
        *(("GET", f"/files/{each}/{route}", None) for route in ("parent", "ancestors") for each in (folder, file)),
        ("GET", f"/file/get/{file}", None),
        ("GET", f"/files/{file}", None),
        ("POST", "/file/create", {"name": "x", "type": "folder", "parent_id": folder}),
        ("POST", "/files", {"name": "x", "type": "folder", "parent_id": folder}),
        ("POST", "/file/rm", {"file_ids": [own["file"], file]}),
        ("DELETE", "/files", {"ids": [own["file"], folder]}),
        ("POST", "/file/rename", {"file_id": file, "name": "b.txt"}),
        ("POST", "/files/move", {"src_file_ids": [file], "new_name": "b.txt"}),
        *(
            ("POST", route, {"src_file_ids": [source], "dest_file_id": target})
            for route in ("/file/mv", "/files/move")
            for source, target in ((file, own["folder"]), (own["file"], folder))
        ),
        *(
            ("POST", route, {"file_ids": [source], "kb_ids": [target]})
            for route in ("/file/convert", "/files/link-to-datasets")
            for source, target in ((file, own["dataset"]), (own["file"], dataset))
        ),
    ]  # fmt: skip


@pytest.mark.promise("6-tenants")
async def test_another_tenants_files_look_missing(api: Api, rival: Api) -> None:
    """They are told in the very words of what is nowhere."""
    folder = await mkdir(api, "mine")
    [file] = await put(api, ("a.txt", b"x"), folder=folder)
    dataset = (await make_dataset(api))["id"]
    [theirs] = await put(rival, ("b.txt", b"x"))
    own = {"dataset": (await make_dataset(rival))["id"], "folder": await mkdir(rival, "theirs"), "file": theirs["id"]}

    async def told(*named: str) -> list[tuple[int, int, str]]:
        answers: list[tuple[int, int, str]] = []
        for method, path, sent in calls_about(named, own):
            found = await rival.refusal(method, path, **({"json": sent} if sent is not None else {}))
            expected = (400, 102) if sent is not None and "parent_id" in sent else (404, 105)
            assert found[:2] == expected, (method, path, found)
            answers.append(found)
        for path in ("/file/upload", "/files"):
            parts = [("file", ("c.txt", b"x"))]
            answers.append(await rival.refusal("POST", path, files=parts, data={"parent_id": named[0]}))
        return answers

    foreign = await told(folder, file["id"], dataset)
    assert foreign == await told(new_id(), new_id(), new_id())
    assert foreign[-2:] == [missing("Can't find this folder!")] * 2
    assert await names(api, folder) == ["a.txt"]
    assert await names(api) == [".knowledgebase", "mine"]
    assert await names(rival) == [".knowledgebase", "b.txt", "theirs"]


@pytest.mark.promise("6-later-routes")
async def test_the_later_routes_do_the_same(api: Api) -> None:
    folder = (await api.ok("POST", "/files", json={"name": "in", "type": "folder"}))["id"]
    [file] = await api.ok("POST", "/files", files=[("file", ("a.txt", b"abc"))], data={"parent_id": folder})
    other = (await api.ok("POST", "/files", json={"name": "out", "type": "folder", "parent_id": folder}))["id"]

    found = await api.ok("GET", "/files", params={"parent_id": folder, "orderby": "name", "desc": "false"})
    assert (found["total"], [each["name"] for each in found["files"]]) == (2, ["a.txt", "out"])
    assert (await api.raw("GET", f"/files/{file['id']}")).content == b"abc"
    await api.ok("POST", "/files/move", json={"src_file_ids": [file["id"]], "dest_file_id": other, "new_name": "b.txt"})
    assert (await names(api, folder), await names(api, other)) == (["out"], ["b.txt"])
    await api.ok("POST", "/files/move", json={"src_file_ids": [file["id"]], "new_name": "c.txt"})
    assert await names(api, other) == ["c.txt"]
    dataset = await make_dataset(api)
    sent = {"file_ids": [file["id"]], "kb_ids": [dataset["id"]]}
    assert len(await api.ok("POST", "/files/link-to-datasets", json=sent)) == 1
    root = (await api.ok("GET", "/file/root_folder"))["root_folder"]
    assert (await api.ok("GET", "/files"))["parent_folder"] == root
    assert (await api.ok("GET", f"/files/{file['id']}/parent"))["parent_folder"]["id"] == other
    assert await api.ok("DELETE", "/files", json={"ids": [folder, folder]}) == {"success_count": 3}
    assert await names(api) == [".knowledgebase"]


@pytest.mark.promise("6-later-routes")
@pytest.mark.parametrize(
    ("method", "path", "sent", "message"),
    [
        ("GET", "/files?odd=1", None, "Extra inputs are not permitted: odd"),
        ("DELETE", "/files", {}, "`ids` is required."),
        ("DELETE", "/files", {"ids": []}, "`ids` should name at least 1."),
        ("DELETE", "/files", {"ids": "x"}, "`ids` should be a list of strings."),
        ("POST", "/files/move", {"src_file_ids": ["x"]}, "`dest_file_id` or `new_name` is required."),
        ("POST", "/files/move", {"src_file_ids": [], "dest_file_id": "x"}, "`src_file_ids` should name at least 1."),
        ("POST", "/files/move", {"src_file_ids": ["x", "y"], "new_name": "z"}, "`new_name` needs exactly one file."),
        ("POST", "/files/move", {"src_file_ids": ["x"], "new_name": 7}, "`new_name` should be a string."),
        ("POST", "/files/link-to-datasets", {"file_ids": ["x"]}, "`kb_ids` is required."),
        ("POST", "/files", [1], "The body must be a JSON object."),
        ("POST", "/files", {"name": 7}, "`name` should be a string."),
    ],
)
async def test_the_later_routes_are_strict(api: Api, method: str, path: str, sent: Any, message: str) -> None:
    found = await api.refusal(method, path, **({"json": sent} if sent is not None else {}))
    assert found == invalid(message)
