"""The whole way: an assistant, a session, a few questions with streamed answers, and everything tidied away.

python -m examples.flows.workflow --key KEY
"""

import uuid

import httpx

from examples.flows.api import call, client, events

QUESTIONS = ("What can you help me with?", "Can you put that in one sentence?", "Thank you. What did I ask you first?")


def ask(service: httpx.Client, chat_id: str, session_id: str, question: str) -> str:
    """Print an answer as it comes, and return it as it is stored."""
    print(f"\nYou: {question}\nAssistant: ", end="", flush=True)
    body = {"question": question, "session_id": session_id}
    stored = ""
    with service.stream("POST", f"/chats/{chat_id}/completions", json=body) as answer:
        answer.raise_for_status()
        for data in events(answer):
            print(data["answer"], end="", flush=True)
            stored = data.get("final_content", stored)
    print()
    return stored


def main() -> None:
    """Run the flow."""
    with client() as service:
        chat = call(service, "POST", "/chats", name=f"Workflow {uuid.uuid4()}")
        try:
            session = call(service, "POST", f"/chats/{chat['id']}/sessions", name="First case")
            for question in QUESTIONS:
                ask(service, chat["id"], session["id"], question)
            kept = call(service, "GET", f"/chats/{chat['id']}/sessions/{session['id']}")
            print(f"\n{len(kept['messages'])} messages are kept in the session.")
            call(service, "DELETE", f"/chats/{chat['id']}/sessions", ids=[session["id"]])
        finally:
            call(service, "DELETE", "/chats", ids=[chat["id"]])


if __name__ == "__main__":
    main()
