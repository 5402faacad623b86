"""Runs the schemathesis command over a running service's own OpenAPI page (design.md 6)."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from routers.embed_cors import PAGE_ROUTES
from tests.service import MODEL, ServedProcess, scripted

CHECKS = (
    "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,"
    "response_schema_conformance,unsupported_method,ignored_auth"
)
_OF_EACH = 4
"""How many of everything there are to begin with: generated calls delete some."""

_KNOWN = 0.8
"""How often a path names what exists."""


def fuzz(service: ServedProcess, *, examples: int, phases: str, only: str = "") -> int:
    """Call everything with the key of a server, then what pages call with a page's token; return an exit status.

    Deletions come last: until then paths mostly name what exists.
    """
    config = service.folder / "schemathesis.toml"
    with httpx.Client(base_url=service.base_url, headers=service.auth, timeout=30) as client:
        token = client.post("/api/v1/system/tokens").raise_for_status().json()["data"]["beta"]
        config.write_text("\n".join(_settings(_there(client))), "utf-8")
    pages = PAGE_ROUTES.pattern
    server = ["--exclude-path-regex", pages]
    runs = [
        (token, ["--include-path-regex", pages]),
        (service.key, [*server, "--exclude-method", "DELETE"]),
        (service.key, [*server, "--include-method", "DELETE"]),
    ]
    if only:
        runs = [(service.key, ["--include-path-regex", only])]
    options = ["--phases", phases, "-n", str(examples)]
    return max(_run(service, config, key, [*which, *options]) for key, which in runs)


def _run(service: ServedProcess, config: Path, key: str, options: Sequence[str]) -> int:
    return subprocess.run(
        [
            *(str(Path(sys.executable).with_name("st")), "--config-file", str(config)),
            *("run", f"{service.base_url}/openapi.json", "-H", f"Authorization: Bearer {key}", "--checks", CHECKS),
            *(
                "--request-timeout",
                "20",
                "--suppress-health-check",
                "all",
                "--continue-on-failure",
                "--output-sanitize",
                "false",
                "--output-truncate",
                "false",
            ),
            *options,
        ],
        check=False,
        cwd=service.folder,
    ).returncode


def _there(client: httpx.Client) -> dict[str, list[str]]:
    """Make something of everything; return ids by the names that paths have for them."""
    found: dict[str, list[str]] = {}
    for number in range(_OF_EACH):
        for name, value in _one_of_each(client, number):
            found.setdefault(name, []).append(value)
    return found


def _one_of_each(client: httpx.Client, number: int) -> Iterator[tuple[str, str]]:
    def call(path: str, **request: Any) -> Any:
        answer = client.post(f"/api/v1{path}", **request).raise_for_status().json()
        assert answer["code"] == 0, answer
        return answer["data"]

    name = f"thing {number}"
    dataset = call("/datasets", json={"name": name})["id"]
    yield "dataset_id", dataset
    words = {"file": (f"{name}.txt", b"Walruses eat clams.")}
    document = call(f"/datasets/{dataset}/documents", files=words)[0]["id"]
    yield "document_id", document
    chunk = call(f"/datasets/{dataset}/documents/{document}/chunks", json={"content": "Walruses live in the Arctic."})
    yield "chunk_id", chunk["chunk"]["id"]
    yield "file_id", call("/file/upload", files={"file": (f"{name}.md", b"# Walruses")})[0]["id"]
    chat = call("/chats", json={"name": name})["id"]
    yield from (("chat_id", chat), ("dialog_id", chat), ("model", chat), ("model", MODEL))
    session = call(f"/chats/{chat}/sessions", json={"name": name})["id"]
    yield "session_id", session
    question = {"question": scripted("What do they eat?", text="Clams."), "session_id": session, "stream": False}
    turn = call(f"/chats/{chat}/completions", json=question)["id"]
    yield from (("turn_id", turn), ("message_id", turn))
    yield "search_id", call("/searches", json={"name": name})["search_id"]
    yield "token", call("/system/tokens")["token"]


def _settings(there: Mapping[str, Sequence[str]]) -> Iterator[str]:
    for name, values in there.items():
        yield f"[dictionaries.{name}]"
        yield f"values = {list(values)}"
    yield "[parameters]"
    for name in there:
        place = "body" if name == "model" else "path"
        yield f'"{place}.{name}" = {{ dictionary = "{name}", probability = {_KNOWN} }}'
