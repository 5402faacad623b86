"""parley from outside, in one file: load documents, make an assistant, ask three questions through the `openai` client.

    python examples/demo.py [--base-url http://127.0.0.1:9380] [--key KEY]

Needs a running server (`make run`), and nothing from the internet. May be run again: what is there is used again.
"""

import argparse
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import openai
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

DOCUMENTS = Path(__file__).resolve().parent / "documents"
DATASET = "Spindle Street handbook"
ASSISTANT = "Spindle Street desk"
QUESTIONS = (
    "When may a monthly membership be cancelled?",
    "How much money is refunded to a volunteer for each shift?",
    "Where are the extractors for a bolt that broke?",
)
PARSE_LIMIT_S = 600.0
_CITATION = re.compile(r"\[ID:(\d+)\]")


class DemoFailed(Exception):
    """Something did not work; the message says what."""


class Api:
    """The native API: JSON in, `data` out."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def call(self, method: str, path: str, **request: Any) -> Any:
        """Return the `data` of an answer; `request` is as for httpx.

        Raises:
            DemoFailed: the server refused.
        """
        answer = self._client.request(method, path, **request)
        while answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:  # the service says how long to wait
            time.sleep(float(answer.headers.get("retry-after", "1")))
            answer = self._client.request(method, path, **request)
        try:
            told: dict[str, Any] = answer.json()
        except ValueError:
            raise DemoFailed(f"{method} {path}: status {answer.status_code}, and no JSON") from None
        if not answer.is_success or told.get("code") != 0:
            raise DemoFailed(f"{method} {path}: {answer.status_code} {told.get('message')}")
        return told.get("data")

    def named(self, path: str, name: str) -> dict[str, Any] | None:
        """Return the one of a paged list that is called `name`."""
        page = 1
        while found := self.call("GET", path, params={"page": page, "page_size": 100}):
            for one in found:
                if one["name"] == name:
                    whole: dict[str, Any] = one
                    return whole
            page += 1
        return None


@dataclass(slots=True)
class Answer:
    """What came of one question."""

    text: str = ""
    final_text: str = ""
    references: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    usage: Any = None
    first_token_s: float = 0.0

    def cited(self) -> list[tuple[int, dict[str, Any]]]:
        """Return number and source of each citation, the first first."""
        numbers = dict.fromkeys(int(number) for number in _CITATION.findall(self.final_text))
        return [(number, self.references[number]) for number in numbers if number < len(self.references)]


def load(api: Api, console: Console) -> str:
    """Bring the documents into the dataset, wait until they are parsed, return the dataset's id."""
    dataset = api.named("/datasets", DATASET) or api.call("POST", "/datasets", json={"name": DATASET})
    dataset_id: str = dataset["id"]
    stored = {document["name"]: document for document in _listed(api, dataset_id)}
    for path in sorted(DOCUMENTS.iterdir()):
        old = stored.get(path.name)
        if old is not None and old["size"] == path.stat().st_size:
            continue
        if old is not None:
            api.call("DELETE", f"/datasets/{dataset_id}/documents", json={"ids": [old["id"]]})
        with path.open("rb") as file:
            api.call("POST", f"/datasets/{dataset_id}/documents", files={"file": (path.name, file)})
    documents = _listed(api, dataset_id)
    waiting = [document["id"] for document in documents if document["run"] not in ("DONE", "RUNNING")]
    if waiting:
        api.call("POST", f"/datasets/{dataset_id}/chunks", json={"document_ids": waiting})
    chunks = _await_parsed(api, console, dataset_id)
    console.print(f"Dataset '{DATASET}': {len(documents)} documents, {chunks} chunks", highlight=False)
    return dataset_id


def _listed(api: Api, dataset_id: str) -> list[dict[str, Any]]:
    answer = api.call("GET", f"/datasets/{dataset_id}/documents", params={"page_size": 1000})
    documents: list[dict[str, Any]] = answer["docs"]
    return documents


def _await_parsed(api: Api, console: Console, dataset_id: str) -> int:
    """Show progress until every document is done; return how many chunks they have."""
    until = time.monotonic() + PARSE_LIMIT_S
    columns = (TextColumn("Parsing"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[now]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task("parse", now="")
        while True:
            documents = _listed(api, dataset_id)
            for document in documents:
                if document["run"] in ("FAIL", "CANCEL"):
                    said = document["progress_msg"].strip().splitlines() or [""]
                    raise DemoFailed(f"{document['name']} was not parsed: {document['run']} {said[-1]}")
            busy = [document["name"] for document in documents if document["run"] != "DONE"]
            done = sum(max(0.0, document["progress"]) for document in documents)
            progress.update(task, completed=done, total=len(documents), now=busy[0] if busy else "")
            if not busy:
                return sum(document["chunk_count"] for document in documents)
            if time.monotonic() > until:
                raise DemoFailed(f"{len(busy)} documents were not parsed within {PARSE_LIMIT_S:.0f} s: {busy[0]}")
            time.sleep(0.3)


def make_assistant(api: Api, dataset_id: str) -> str:
    """Return the id of the assistant over the dataset, made or brought up to date."""
    known = api.named("/chats", ASSISTANT)
    if known is not None:
        chat_id: str = known["id"]
        api.call("PUT", f"/chats/{chat_id}", json={"dataset_ids": [dataset_id]})
        return chat_id
    made: dict[str, Any] = api.call("POST", "/chats", json={"name": ASSISTANT, "dataset_ids": [dataset_id]})
    return str(made["id"])


def ask(client: openai.OpenAI, question: str, console: Console) -> Answer:
    """Ask one question, print the pieces as they come, return the whole.

    Raises:
        DemoFailed: nothing is cited.
    """
    console.print(f"\n[bold]{question}[/bold]")
    answer = Answer()
    for piece in _pieces(client, question, answer):
        console.print(piece, end="", markup=False, highlight=False, soft_wrap=True)
    console.print()
    _show_sources(answer, console)
    if not answer.cited():
        raise DemoFailed(f"the answer to '{question}' cites nothing: {answer.final_text or answer.text}")
    return answer


def _pieces(client: openai.OpenAI, question: str, answer: Answer) -> Iterator[str]:
    begun = time.perf_counter()
    stream = client.chat.completions.create(
        model="model",  # the assistant's own
        messages=[{"role": "user", "content": question}],
        stream=True,
        extra_body={"reference": True},
    )
    for chunk in stream:
        answer.usage = chunk.usage or answer.usage
        for choice in chunk.choices:
            if choice.delta.content:
                answer.first_token_s = answer.first_token_s or time.perf_counter() - begun
                answer.text += choice.delta.content
                yield choice.delta.content
            more = choice.delta.model_extra or {}
            answer.references = more.get("reference") or answer.references
            answer.final_text = more.get("final_content") or answer.final_text


def _show_sources(answer: Answer, console: Console) -> None:
    for number, source in answer.cited():
        snippet = " ".join(source["content"].split())[:110]
        similarity = f"{source['similarity']:.2f}" if source["similarity"] is not None else "-"
        line = f"  [ID:{number}] {source['document_name']}, similarity {similarity}: {snippet}"
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    usage = answer.usage
    counted = f"{usage.prompt_tokens} + {usage.completion_tokens} tokens" if usage is not None else "no usage told"
    console.print(f"  first token after {answer.first_token_s * 1000:.0f} ms, {counted}", highlight=False)


def run(base_url: str, key: str, console: Console) -> None:
    """Do all of it.

    Raises:
        DemoFailed: something does not work, or an answer cites nothing.
    """
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(base_url=f"{base_url}/api/v1", headers=headers, timeout=60, trust_env=False) as http:
        api = Api(http)
        chat_id = make_assistant(api, load(api, console))
    with openai.OpenAI(
        base_url=f"{base_url}/api/v1/chats_openai/{chat_id}",
        api_key=key,
        http_client=openai.DefaultHttpxClient(trust_env=False),
    ) as client:
        for question in QUESTIONS:
            ask(client, question, console)
    console.print(f"\nAssistant '{ASSISTANT}' is yours to ask: chat_id {chat_id}", highlight=False, soft_wrap=True)


def find_key() -> str:
    """Return the key of `PARLEY_API_KEY`, else of the server's data folder.

    Raises:
        DemoFailed: there is none.
    """
    if key := os.environ.get("PARLEY_API_KEY"):
        return key
    path = Path(os.environ.get("PARLEY_DATA_DIR", ".parley")) / "api-key"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise DemoFailed(f"no key: set PARLEY_API_KEY, or --key ({path}: {error.strerror})") from None


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo; 1 with a line on stderr when it fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    default = os.environ.get("DEMO_URL", "http://127.0.0.1:9380")
    parser.add_argument("--base-url", "--url", default=default, help=f"where the server is (default: {default})")
    parser.add_argument("--key", help="an API key (default: PARLEY_API_KEY, else the one in the data folder)")
    chosen = parser.parse_args(arguments)
    try:
        run(chosen.base_url.rstrip("/"), chosen.key or find_key(), Console())
    except (DemoFailed, openai.OpenAIError) as error:
        sys.stderr.write(f"demo: {error}\n")
        return 1
    except httpx.HTTPError as error:
        sys.stderr.write(f"demo: no talking to {chosen.base_url}: {error or type(error).__name__}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
