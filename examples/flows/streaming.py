"""A stream that survives its connection: when it breaks, the same turn is followed from the event after the last one.

python -m examples.flows.streaming --key KEY --question "How?" is answered once, however often the line drops.
"""

import time
import uuid
from collections.abc import Iterator

import httpx

from examples.flows.api import Refused, call, client, events

TRIES = 4
AGAIN = (429, 502, 503, 504)


def streamed(service: httpx.Client, chat_id: str, question: str) -> Iterator[str]:
    """Yield the pieces of one answer.

    The `Idempotency-Key` makes a repeated call the same turn: nothing is asked, or paid, twice. What has been shown
    already is left out when the turn is read again from its start.

    Raises:
        Refused, httpx.HTTPError: it did not work, and trying again will not help or did not.
    """
    key = str(uuid.uuid4())
    shown = 0
    for attempt in range(TRIES):
        try:
            seen = 0
            for piece in _once(service, chat_id, question, key):
                seen += len(piece)
                if seen > shown:
                    yield piece[-(seen - shown) :]
                    shown = seen
            return
        except Refused as refused:
            if refused.status not in AGAIN or attempt == TRIES - 1:
                raise
        except httpx.TransportError:
            if attempt == TRIES - 1:
                raise
        time.sleep(2**attempt / 2)


def _once(service: httpx.Client, chat_id: str, question: str, key: str) -> Iterator[str]:
    path, headers = f"/chats/{chat_id}/completions", {"Idempotency-Key": key}
    with service.stream("POST", path, json={"question": question}, headers=headers) as answer:
        if answer.status_code != 200:
            answer.read()
            raise Refused(answer.status_code, answer.json()["message"])
        for data in events(answer):
            yield data["answer"]


def main() -> None:
    """Run the flow."""
    with client() as service:
        chat = call(service, "POST", "/chats", name=f"Streaming {uuid.uuid4()}")
        try:
            for piece in streamed(service, chat["id"], "What can you help me with?"):
                print(piece, end="", flush=True)
            print()
        finally:
            call(service, "DELETE", "/chats", ids=[chat["id"]])


if __name__ == "__main__":
    main()
