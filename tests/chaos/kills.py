"""Clients asking in sessions while the service is killed again and again; then every row is looked at."""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import asyncpg
import httpx

from app.serving.home import DATABASE, _running
from tests.service import ServedProcess, scripted

FINAL = ("done", "stopped", "failed")
DURABLE_WITHIN_S = 0.5
"""Pieces are written every 50 ms (design.md 1.2); what a dead process showed longer ago than this must be stored."""


@dataclass(kw_only=True)
class Asked:
    """One question, and what its client saw of it."""

    text: str
    answer: str
    session_id: str
    key: str
    attempts: int = 0
    is_acknowledged: bool = False
    is_whole: bool = False
    turn_ids: set[str] = field(default_factory=set[str])
    seen: list[tuple[float, str]] = field(default_factory=list[tuple[float, str]])
    broke_at: float = 0.0


@dataclass(kw_only=True)
class Summary:
    """What came of it; `problems` is empty when nothing was lost or doubled."""

    kills: int = 0
    asked: int = 0
    acknowledged: int = 0
    whole: int = 0
    sessions: int = 0
    turns: dict[str, int] = field(default_factory=dict[str, int])
    partials: int = 0
    most_characters_lost: int = 0
    restart_s: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    problems: list[str] = field(default_factory=list[str])

    def told(self) -> str:
        """Return it as JSON, restarts as three numbers."""
        times = sorted(self.restart_s) or [0.0]
        middle, slowest = times[len(times) // 2], times[-1]
        shown = asdict(self) | {"restart_s": {"median": round(middle, 2), "most": round(slowest, 2)}}
        return json.dumps(shown, indent=1)


class Chaos:
    """Drives clients and kills; `run` returns what came of it."""

    def __init__(
        self, service: ServedProcess, *, clients: int, seed: int, told: Callable[[int], None] = lambda _: None
    ) -> None:
        self._service = service
        self._clients = clients
        self._chance = random.Random(seed)  # noqa: S311
        self._told = told
        self._asked: list[Asked] = []
        self._sessions: set[str] = set()
        self._chat_id = ""
        self._is_over = False
        self._streaming = 0
        self.summary = Summary()

    async def run(self, kills: int) -> Summary:
        """Kill `kills` times under load, let it settle, and look."""
        begun = time.monotonic()
        await self._make_chat()
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._clients):
                tasks.create_task(self._client(number))
            for _ in range(kills):
                await self._kill()
            await asyncio.sleep(0.5)
            self._is_over = True
        await self._settle()
        await self._look()
        self.summary.seconds = round(time.monotonic() - begun, 1)
        return self.summary

    async def _make_chat(self) -> None:
        prompt = {"prompt": "Be brief.", "variables": [], "opener": "Hello!", "empty_response": ""}
        async with self._http() as http:
            answer = await http.post("/api/v1/chats", json={"name": "chaos", "prompt": prompt})
            self._chat_id = answer.json()["data"]["id"]

    def _http(self) -> httpx.AsyncClient:
        return self._service.client(timeout_s=40)

    async def _kill(self) -> None:
        """Kill at a random moment at which streams run."""
        until = time.monotonic() + 10
        while self._streaming == 0 and time.monotonic() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        await asyncio.sleep(self._chance.uniform(0.0, 0.6))
        await asyncio.to_thread(self._service.kill)
        self.summary.kills += 1
        begun = time.monotonic()
        await asyncio.to_thread(self._service.start)
        await asyncio.to_thread(self._service.wait_until_ready)
        self.summary.restart_s.append(time.monotonic() - begun)
        self._told(self.summary.kills)

    async def _client(self, number: int) -> None:
        chance = random.Random(f"{number} {self._chance.random()}")  # noqa: S311
        session_id, count = "", 0
        while not self._is_over:
            if not session_id or count % 6 == 0:
                session_id = await self._session(f"client {number}")
            count += 1
            pieces = chance.randrange(5, 60)
            mark = f"c{number}n{count}"
            words = [f"{mark}-{n}" for n in range(pieces)]
            answer = " ".join(words)
            text = scripted(f"Question {mark}", text=answer, gap_ms=chance.choice((2, 10, 25)))
            asked = Asked(text=text, answer=answer, session_id=session_id, key=mark)
            self._asked.append(asked)
            has_key = chance.random() < 0.5
            await self._ask(asked, has_key=has_key)
            while has_key and not asked.is_whole and asked.attempts < 4 and not self._is_over:
                await self._ask(asked, has_key=True)  # the same call again: design.md 1.5

    async def _session(self, name: str) -> str:
        while True:
            try:
                async with self._http() as http:
                    answer = await http.post(f"/api/v1/chats/{self._chat_id}/sessions", json={"name": name})
            except httpx.HTTPError:
                await asyncio.sleep(0.1)
                continue
            session_id: str = answer.json()["data"]["id"]
            self._sessions.add(session_id)
            return session_id

    async def _ask(self, asked: Asked, *, has_key: bool) -> None:
        asked.attempts += 1
        body = {"question": asked.text, "session_id": asked.session_id}
        headers = {"Idempotency-Key": asked.key} if has_key else {}
        got: list[tuple[float, str]] = []
        broke_at = float("inf")
        try:
            async with (
                self._http() as http,
                http.stream("POST", f"/api/v1/chats/{self._chat_id}/completions", json=body, headers=headers) as answer,
            ):
                if answer.status_code != 200:
                    await answer.aread()
                    if answer.status_code < 500:
                        self.summary.problems.append(f"{asked.key}: {answer.status_code} {answer.text}")
                    return
                asked.is_acknowledged = True
                asked.turn_ids.add(answer.headers["x-turn-id"])
                self._streaming += 1
                try:
                    await _read(answer, got, asked)
                finally:
                    self._streaming -= 1
        except httpx.HTTPError:
            broke_at = time.monotonic()
            await asyncio.sleep(0.05)
        finally:
            if sum(len(text) for _, text in got) >= sum(len(text) for _, text in asked.seen):
                asked.seen, asked.broke_at = got, broke_at

    async def _settle(self) -> None:
        """Wait until nothing runs any more: 15 s are promised, and a restart closes at once."""
        until = time.monotonic() + 20
        connection = await self._superuser()
        try:
            while await connection.fetchval("SELECT count(*) FROM turns WHERE state = 'running'"):
                if time.monotonic() > until:
                    self.summary.problems.append("turns still run 20 s after the last kill")
                    return
                await asyncio.sleep(0.1)
        finally:
            await connection.close()

    async def _superuser(self) -> Any:
        postgres = _running(self._service.folder / "data" / "postgres")
        assert postgres is not None, "the database is not there"
        url = postgres.url(user=postgres.superuser, database=DATABASE).replace("+asyncpg", "")
        return await asyncpg.connect(url)

    async def _look(self) -> None:
        connection = await self._superuser()
        try:
            messages = await connection.fetch("SELECT * FROM messages WHERE session_id IS NOT NULL ORDER BY position")
            turns = await connection.fetch("SELECT id, session_id, state FROM turns")
        finally:
            await connection.close()
        told = self.summary
        told.asked, told.sessions = len(self._asked), len(self._sessions)
        told.acknowledged = sum(one.is_acknowledged for one in self._asked)
        told.whole = sum(one.is_whole for one in self._asked)
        told.turns = dict(Counter(turn["state"] for turn in turns))
        self._look_at_sessions(messages)
        self._look_at_turns(messages, turns)
        self._look_at_answers(messages, {turn["id"]: turn["state"] for turn in turns})

    def _look_at_sessions(self, messages: list[Any]) -> None:
        positions: dict[str, list[int]] = {}
        for message in messages:
            positions.setdefault(message["session_id"], []).append(message["position"])
        for session_id in self._sessions:
            found = positions.get(session_id)
            if found is None:
                self.summary.problems.append(f"session {session_id} is lost")
            elif found != list(range(len(found))):
                self.summary.problems.append(f"session {session_id} has positions {found}")

    def _look_at_turns(self, messages: list[Any], turns: list[Any]) -> None:
        roles = Counter((message["turn_id"], message["role"]) for message in messages)
        for turn in turns:
            counts = roles[turn["id"], "user"], roles[turn["id"], "assistant"]
            if turn["state"] not in FINAL or counts != (1, 1):
                self.summary.problems.append(f"turn {turn['id']} is {turn['state']} with messages {counts}")

    def _look_at_answers(self, messages: list[Any], states: dict[str, str]) -> None:
        of_question: dict[str, list[str]] = {}
        answers: dict[str, str] = {}
        for message in messages:
            if message["role"] == "user":
                of_question.setdefault(message["content"], []).append(message["turn_id"])
            else:
                answers[message["turn_id"]] = message["content"]
        for asked in self._asked:
            self._look_at(asked, of_question.get(asked.text, []), answers, states)

    def _look_at(self, asked: Asked, turn_ids: list[str], answers: dict[str, str], states: dict[str, str]) -> None:
        problems = self.summary.problems
        if len(turn_ids) > 1:
            problems.append(f"{asked.key}: stored {len(turn_ids)} times, asked in {asked.attempts} attempts")
        if asked.is_acknowledged and set(turn_ids) != asked.turn_ids:
            problems.append(f"{asked.key}: acknowledged as {asked.turn_ids}, stored as {turn_ids}")
        if not turn_ids:
            return
        turn_id = turn_ids[0]
        stored, state = answers.get(turn_id, ""), states[turn_id]
        seen = "".join(text for _, text in asked.seen)
        old = "".join(text for at, text in asked.seen if at < asked.broke_at - DURABLE_WITHIN_S)
        if not asked.answer.startswith(stored):
            problems.append(f"{asked.key}: stored {stored[-60:]!r}, which the model never said")
        if state == "done" and stored != asked.answer:
            problems.append(f"{asked.key}: done with {len(stored)} of {len(asked.answer)} characters")
        if asked.is_whole and state != "done":
            problems.append(f"{asked.key}: its client saw it end, and it is {state}")
        if not stored.startswith(old):
            problems.append(f"{asked.key}: {len(old)} characters shown long ago, {len(stored)} stored")
        if state == "failed":
            self.summary.partials += bool(stored)
            self.summary.most_characters_lost = max(self.summary.most_characters_lost, len(seen) - len(stored))


async def _read(answer: httpx.Response, got: list[tuple[float, str]], asked: Asked) -> None:
    async for line in answer.aiter_lines():
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        data = event["data"]
        if not isinstance(data, dict):
            continue
        if event["code"] == 0 and data["final"]:
            asked.is_whole = True
        elif event["code"] == 0:
            got.append((time.monotonic(), data["answer"]))
