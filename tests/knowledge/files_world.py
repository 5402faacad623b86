"""What tests of the folder tree share."""

from typing import Any

from tests.chats.world import Api


async def put(api: Api, *files: tuple[str, bytes], folder: str | None = None) -> list[Any]:
    """Upload files into a folder, the root for None; what the answer tells."""
    data = {"parent_id": folder} if folder is not None else {}
    parts = [("file", file) for file in files]
    made: list[Any] = await api.ok("POST", "/file/upload", files=parts, data=data)
    return made


async def mkdir(api: Api, name: str, folder: str | None = None) -> str:
    """Make a folder; its id."""
    made = await api.ok("POST", "/file/create", json={"name": name, "type": "folder", "parent_id": folder})
    return str(made["id"])


async def names(api: Api, folder: str = "", **params: Any) -> list[str]:
    """The names in a folder, in the order of a list."""
    found = await api.ok(
        "GET", "/file/list", params={"parent_id": folder, "orderby": "name", "desc": "false", **params}
    )
    return [file["name"] for file in found["files"]]


async def link(api: Api, files: list[str], *datasets: str) -> list[Any]:
    """Link files to datasets; the links."""
    made: list[Any] = await api.ok("POST", "/file/convert", json={"file_ids": files, "kb_ids": list(datasets)})
    return made


async def documents(api: Api, dataset_id: str) -> list[str]:
    """The names of a dataset's documents, the oldest first."""
    found = await api.ok("GET", f"/datasets/{dataset_id}/documents", params={"desc": "false"})
    return [document["name"] for document in found["docs"]]
