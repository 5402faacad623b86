"""Kills while documents are stored and parsed leave nothing half-made (design.md 1.7; knowledge.md 2.6, 2.8)."""

import hashlib
import http.client
import random
import time
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.processes import command_of
from tests.service import NO_ROOTS, ServedProcess, parley_serve
from tests.upstream.fixtures import ScriptedUpstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

_DOCUMENTS = 8
_SENTENCES = 200


def _text(seed: int) -> bytes:
    """Return prose whose every line differs, so that every chunk has its own id."""
    words = ("harbour", "tide", "ferry", "cheese", "wheel", "ledger", "orchard", "violin", "granite", "pepper")
    dice = random.Random(seed)  # noqa: S311 (texts, not secrets)
    lines = [f"Line {number} of text {seed}: {' '.join(dice.choices(words, k=9))}." for number in range(_SENTENCES)]
    return "\n".join(lines).encode()


class _Dataset:
    """A dataset of a running service, asked over HTTP."""

    def __init__(self, service: ServedProcess, name: str) -> None:
        self._service = service
        self._path = f"/datasets/{self._ask('POST', '/datasets', json={'name': name})['id']}"

    def _ask(self, method: str, path: str, **more: Any) -> Any:
        url = f"{self._service.base_url}/api/v1{path}"
        told = httpx.request(method, url, headers=self._service.auth, timeout=60, verify=NO_ROOTS, **more).json()
        assert told["code"] == 0, told
        return told.get("data")

    def upload(self, texts: list[bytes]) -> list[str]:
        files = [("file", (f"{number}.txt", text)) for number, text in enumerate(texts)]
        return [one["id"] for one in self._ask("POST", f"{self._path}/documents", files=files)]

    def parse(self, ids: list[str]) -> None:
        self._ask("POST", f"{self._path}/chunks", json={"document_ids": ids})

    def documents(self) -> list[dict[str, Any]]:
        docs: list[dict[str, Any]] = self._ask("GET", f"{self._path}/documents", params={"page_size": 100})["docs"]
        return docs

    def counts(self) -> tuple[int, int]:
        one = self._ask("GET", self._path)
        return one["document_count"], one["chunk_count"]

    def chunks(self, document_id: str) -> list[str]:
        told = self._ask("GET", f"{self._path}/documents/{document_id}/chunks", params={"page_size": 10_000})
        return [one["content"] for one in told["chunks"]]

    def until_parsed(self, timeout_s: float = 120) -> None:
        until = time.monotonic() + timeout_s
        while any(one["run"] == "RUNNING" for one in self.documents()):
            assert time.monotonic() < until, [(one["run"], one["progress_msg"][-300:]) for one in self.documents()]
            time.sleep(0.3)


def _worker(service: ServedProcess) -> psutil.Process | None:
    assert service.process is not None
    children = psutil.Process(service.process.pid).children(recursive=True)
    return next((one for one in children if "app.serving.worker_process" in command_of(one)), None)


def _wait_for_progress(service: ServedProcess, dataset: _Dataset, already_done: int) -> None:
    """Return when a worker is in the middle of a document."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        documents = dataset.documents()
        is_inside = any(0.01 < one["progress"] < 1 for one in documents)
        if is_inside and sum(one["run"] == "DONE" for one in documents) >= already_done and _worker(service):
            return
        if all(one["run"] == "DONE" for one in documents):
            return
        time.sleep(0.02)
    raise AssertionError(f"no document was being parsed: {dataset.documents()} {service.tail()}")


@pytest.mark.promise("2.8-killed-worker")
def test_killed_workers_and_services_parse_every_document_once(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """The worker is killed in mid-document, then the whole service; the chunks are those of an undisturbed run."""
    texts = [_text(seed) for seed in range(_DOCUMENTS)]
    with parley_serve(tmp_path, upstream) as service:
        calm = _Dataset(service, "calm")
        calm.parse(calm.upload(texts))
        calm.until_parsed()
        wanted = {one["name"]: calm.chunks(one["id"]) for one in calm.documents()}

        stormy = _Dataset(service, "stormy")
        stormy.parse(stormy.upload(texts))
        killed = 0
        for done in (0, 2):
            _wait_for_progress(service, stormy, done)
            worker = _worker(service)
            if worker is not None:
                worker.kill()
                killed += 1
        _wait_for_progress(service, stormy, 4)
        service.kill()
        service.start()
        service.wait_until_ready()
        stormy.until_parsed()

        assert killed >= 1, "no worker was met at work"
        found = stormy.documents()
        assert {one["run"] for one in found} == {"DONE"}, found
        assert {one["name"]: stormy.chunks(one["id"]) for one in found} == wanted
        for one in found:
            assert len(set(wanted[one["name"]])) == one["chunk_count"] == len(wanted[one["name"]])
        assert stormy.counts() == calm.counts()


def _send_half(service: ServedProcess, path: str, body: bytes, boundary: str) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=10)
    connection.putrequest("POST", path)
    connection.putheader("Authorization", f"Bearer {service.key}")
    connection.putheader("Content-Type", f"multipart/form-data; boundary={boundary}")
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders()
    connection.send(body[: len(body) // 2])
    return connection


def _blobs(service: ServedProcess) -> set[str]:
    """Return the digests of all stored files."""
    folder = service.folder / "data" / "blobs"
    return {hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.rglob("*") if one.is_file()}


@pytest.mark.promise("2.1-killed-upload")
def test_a_service_that_is_killed_in_mid_upload_leaves_nothing_half_visible(
    upstream: ScriptedUpstream, tmp_path: Path
) -> None:
    """Two files in one body, the service killed in the second: no document of either, and uploading again works."""
    boundary = "frontier"
    large = random.Random(1).randbytes(3_000_000)  # noqa: S311 (bytes of no meaning)
    parts = b"".join(
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n'
        f"Content-Type: application/octet-stream\r\n\r\n".encode()
        + content
        + b"\r\n"
        for name, content in (("first.txt", b"Whole."), ("second.txt", large))
    )
    body = parts + f"--{boundary}--\r\n".encode()
    with parley_serve(tmp_path, upstream) as service:
        dataset = _Dataset(service, "half")
        path = f"/api/v1{dataset._path}/documents"
        connection = _send_half(service, path, body, boundary)
        time.sleep(0.3)
        service.kill()
        connection.close()
        service.start()
        service.wait_until_ready()

        assert dataset.documents() == []
        assert dataset.counts() == (0, 0)
        assert hashlib.sha256(large).hexdigest() not in _blobs(service)

        dataset.upload([b"Whole.", large])
        assert sorted(one["size"] for one in dataset.documents()) == [6, len(large)]
        assert hashlib.sha256(large).hexdigest() in _blobs(service)
