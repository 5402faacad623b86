"""`parley ingest` and `parley ask`: a client of the API, as any other."""

import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress

from app.commands.calling import Api, Key, Url, api
from app.commands.telling import AsJson, fail, tell, tell_json

_ENDED = frozenset({"DONE", "FAIL", "CANCEL"})
_POLL_S = 0.5


def ingest(
    paths: Annotated[list[Path], typer.Argument(help="Files and folders.", exists=True)],
    dataset: Annotated[str, typer.Option(help="Name of the dataset; it is made if there is none.")],
    chat: Annotated[str | None, typer.Option(help="Let this assistant answer from it; made if there is none.")] = None,
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Upload files into a dataset, and wait until they are parsed."""
    files = sorted(_files(paths))
    if not files:
        fail("there are no files in these folders")
    with api(url, key) as client, Progress(console=Console(stderr=True), transient=True) as progress:
        found = client.named("datasets", dataset) or client.post("/datasets", json={"name": dataset})
        bar = progress.add_task("uploading", total=len(files))
        document_ids: list[str] = []
        for path in files:
            with path.open("rb") as content:
                stored = client.post(f"/datasets/{found['id']}/documents", files=[("file", (path.name, content))])
            document_ids += [one["id"] for one in stored]
            progress.advance(bar)
        client.post(f"/datasets/{found['id']}/chunks", json={"document_ids": document_ids})
        ended = _await_parsed(client, found["id"], document_ids, progress)
        if chat is not None and any(one["chunk_count"] for one in ended):
            _attach(client, chat, found["id"])
    failed = [one for one in ended if one["run"] != "DONE"]
    if as_json:
        told = [{name: one[name] for name in ("id", "name", "run", "chunk_count", "token_count")} for one in ended]
        tell_json({"dataset_id": found["id"], "documents": told})
    else:
        chunks = sum(one["chunk_count"] for one in ended)
        tell(f"{len(ended) - len(failed)} documents, {chunks} chunks in dataset {dataset}")
    for one in failed:
        sys.stderr.write(f"parley: {one['name']}: {(one.get('progress_msg') or one['run']).strip().splitlines()[-1]}\n")
    if failed:
        raise typer.Exit(1)


def _attach(client: Api, chat: str, dataset_id: str) -> None:
    """Let an assistant answer from one more dataset."""
    known = client.named("chats", chat)
    if known is None:
        client.post("/chats", json={"name": chat, "dataset_ids": [dataset_id]})
        return
    client.put(f"/chats/{known['id']}", json={"dataset_ids": list({*known["dataset_ids"], dataset_id})})


def ask(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    chat: Annotated[str, typer.Option(help="Name of the assistant.")] = "Assistant",
    url: Url = None,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Ask an assistant; the answer is printed as it comes, then its sources."""
    with api(url, key) as client:
        found = client.named("chats", chat)
        if found is None:
            fail(f"there is no assistant called {chat}")
        body = {
            "model": "model",
            "stream": True,
            "reference": True,
            "messages": [{"role": "user", "content": question}],
        }
        text = ""
        sources: list[str] = []
        with client.stream(f"/chats_openai/{found['id']}/chat/completions", body) as response:
            for event in _events(response.iter_lines()):
                if "error" in event:
                    fail(str(event["error"].get("message")))
                for choice in event.get("choices") or ():
                    piece = choice["delta"].get("content") or ""
                    sources = _sources(choice["delta"].get("reference")) or sources
                    text += piece
                    if not as_json:
                        sys.stdout.write(piece)
                        sys.stdout.flush()
    if as_json:
        tell_json({"answer": text, "sources": sources})
        return
    tell("")
    for source in sources:
        tell(f"  source: {source}")


def _files(paths: Iterable[Path]) -> Iterable[Path]:
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        for found in path.rglob("*"):
            if found.is_file() and not any(part.startswith(".") for part in found.relative_to(path).parts):
                yield found


def _await_parsed(client: Api, dataset_id: str, document_ids: list[str], progress: Progress) -> list[dict[str, Any]]:
    """Poll until every document has ended; return them."""
    wanted = set(document_ids)
    bar = progress.add_task("parsing", total=float(len(wanted)))
    while True:
        found: list[dict[str, Any]] = []
        page = 1
        while True:
            docs = client.get(f"/datasets/{dataset_id}/documents", page=page, page_size=100)["docs"]
            found += [one for one in docs if one["id"] in wanted]
            if len(docs) < 100 or len(found) == len(wanted):
                break
            page += 1
        progress.update(bar, completed=sum(1.0 if one["run"] in _ENDED else max(0.0, one["progress"]) for one in found))
        if all(one["run"] in _ENDED for one in found):
            return found
        time.sleep(_POLL_S)


def _events(lines: Iterable[str]) -> Iterable[dict[str, Any]]:
    for line in lines:
        data = line.removeprefix("data:").strip()
        if line.startswith("data:") and data != "[DONE]":
            event = json.loads(data)
            if isinstance(event, dict):
                yield event


def _sources(reference: Any) -> list[str]:
    chunks: Any = reference.get("chunks") if isinstance(reference, dict) else reference
    if isinstance(chunks, dict):
        chunks = list(chunks.values())
    return list(dict.fromkeys(str(one.get("document_name")) for one in chunks or ()))
