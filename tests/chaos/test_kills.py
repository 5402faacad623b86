"""Kills at random lose nothing that was acknowledged (design.md 6; operations.md 2, 5). The long form: `make chaos`."""

import os
import re
import signal
import time
from pathlib import Path

import anyio
import httpx
import psutil
import pytest

from tests.chaos.kills import FINAL, Chaos
from tests.processes import command_of
from tests.service import ServedProcess, parley_serve, scripted
from tests.upstream.fixtures import ScriptedUpstream

pytestmark = [pytest.mark.slow, pytest.mark.timeout(180)]


async def test_a_killed_service_loses_and_doubles_nothing(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    with parley_serve(tmp_path, upstream) as service:
        summary = await Chaos(service, clients=8, seed=int(time.time())).run(kills=4)

    assert summary.problems == [], summary.told()
    assert summary.kills == 4
    assert summary.acknowledged > 10, summary.told()
    assert summary.turns.get("failed", 0) > 0, "no kill met a running turn"


async def _both_are_busy(client: httpx.AsyncClient) -> bool:
    told = (await client.get("/metrics")).text
    running = re.findall(r'parley_turns_running\{process="\d"\} (\S+)', told)
    return len(running) == 2 and all(float(count) >= 2 for count in running)


async def test_the_other_worker_closes_the_turns_of_a_killed_one(upstream: ScriptedUpstream, tmp_path: Path) -> None:
    """design.md 1.1: closed as failed, with the text so far, within 15 seconds; nobody else notices."""
    broke: list[str] = []
    states: list[str] = []
    took = 99.0
    with parley_serve(tmp_path, upstream, workers=2) as service:
        async with service.client() as client:
            made = await client.post("/api/v1/chats", json={"name": "two", "prompt": {"variables": [], "prompt": "Hi"}})
            path = f"/api/v1/chats/{made.json()['data']['id']}/completions"
            turn_ids: list[str] = []

            async def ask() -> None:
                async with service.client() as own:
                    body = {"question": scripted(pieces=400, gap_ms=20)}
                    async with own.stream("POST", path, json=body) as answer:
                        turn_id = answer.headers["x-turn-id"]
                        turn_ids.append(turn_id)
                        try:
                            async for _ in answer.aiter_bytes():
                                pass
                        except httpx.HTTPError:
                            broke.append(turn_id)

            async with anyio.create_task_group() as tasks:
                for _ in range(16):
                    tasks.start_soon(ask)
                with anyio.fail_after(30):
                    while len(turn_ids) < 16 or not await _both_are_busy(client):
                        await anyio.sleep(0.1)
                        tasks.start_soon(ask)  # whichever worker is free takes a connection
                await anyio.sleep(0.5)
                os.kill(_a_worker(service), signal.SIGKILL)
                killed = time.monotonic()
                with anyio.fail_after(10):
                    while not broke:  # noqa: ASYNC110
                        await anyio.sleep(0.05)
                await _wait_until_final(service, broke)
                took = time.monotonic() - killed
                others = [turn_id for turn_id in turn_ids if turn_id not in broke]
                states = [await _state(service, turn_id) for turn_id in others]
                tasks.cancel_scope.cancel()

    assert 0 < len(broke) < len(turn_ids), "the kill should have met one worker of two"
    assert took < 15
    assert set(states) <= {"running", "done"}


def _a_worker(service: ServedProcess) -> int:
    """Return the process id of one of the processes that answer."""
    assert service.process is not None
    children = psutil.Process(service.process.pid).children(recursive=True)
    workers = [one.pid for one in children if "app.serving.answering" in command_of(one)]
    assert len(workers) == 2, [command_of(one) for one in children]
    return workers[0]


async def _state(service: ServedProcess, turn_id: str) -> str:
    for _ in range(50):
        try:
            async with service.client(timeout_s=5) as client:
                answer = await client.get(f"/api/v1/turns/{turn_id}")
        except httpx.HTTPError:
            await anyio.sleep(0.1)
            continue
        return str(answer.json()["data"]["state"])
    raise AssertionError("no worker answers")


async def _wait_until_final(service: ServedProcess, turn_ids: list[str]) -> None:
    with anyio.fail_after(20):
        for turn_id in turn_ids:
            while await _state(service, turn_id) not in FINAL:  # noqa: ASYNC110
                await anyio.sleep(0.1)
