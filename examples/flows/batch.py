"""Many questions, a few at a time, each in a session of its own; one that fails does not stop the others.

python -m examples.flows.batch --key KEY
"""

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import httpx

from examples.flows.api import call, client

AT_ONCE = 4
TRIES = 5


@dataclass(frozen=True, kw_only=True)
class Result:
    """One question, and what came of it."""

    question: str
    answer: str = ""
    references: dict[str, Any] = field(default_factory=dict[str, Any])
    session_id: str = ""
    error: str = ""


def ask(service: httpx.Client, chat_id: str, number: int, question: str) -> Result:
    """Ask in a new session; wait as long as the service says when there are too many calls."""
    body = {"question": question, "stream": False, "name": f"Batch {number}"}
    path = f"/chats/{chat_id}/completions"
    answer = service.post(path, json=body)
    for _ in range(TRIES - 1):
        if answer.status_code != 429:
            break
        time.sleep(float(answer.headers.get("retry-after", "1")))
        answer = service.post(path, json=body)
    told = answer.json()
    if told["code"] != 0:
        return Result(question=question, error=told["message"])
    data = told["data"]
    return Result(question=question, answer=data["answer"], references=data["reference"], session_id=data["session_id"])


def ask_all(service: httpx.Client, chat_id: str, questions: list[str]) -> list[Result]:
    """Return one result for each question, in their order."""
    with ThreadPoolExecutor(AT_ONCE) as pool:
        asked = [pool.submit(ask, service, chat_id, number, question) for number, question in enumerate(questions)]
        return [one.result() for one in asked]


def main() -> None:
    """Run the flow."""
    questions = [f"What is {number} and {number}?" for number in range(1, 9)]
    with client() as service:
        chat = call(service, "POST", "/chats", name=f"Batch {uuid.uuid4()}")
        try:
            for result in ask_all(service, chat["id"], questions):
                print(f"{result.question} {result.error or result.answer!r} (session {result.session_id})")
        finally:
            call(service, "DELETE", "/chats", ids=[chat["id"]])


if __name__ == "__main__":
    main()
