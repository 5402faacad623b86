"""Walks every chat and session method of an unmodified `ragflow-sdk` 0.22 against a running service.

`python -m tests.clients.ragflow_walk_chats <base url> <key> <pieces|cumulative>`: the last word says how the dialect at
that address streams. Prints one line per step; ends with the methods it has called. Agents come later: their methods
are not walked.
"""

import itertools
import json
import sys
from typing import Any

from ragflow_sdk import Chat, DataSet, RAGFlow, Session

from tests.clients.walking import Calls, check, refused

TEXT = b"The ferry to Amrum leaves at six in the morning.\nBicycles travel free of charge.\n"
_WANTED = (
    (RAGFlow, ("create_chat", "delete_chats", "list_chats")),
    (Chat, ("create_session", "delete_sessions", "list_sessions", "update")),
    (Session, ("ask", "update")),
)


def walk(base_url: str, key: str, *, is_cumulative: bool) -> Calls:
    """Call everything, and check what comes back."""
    calls = Calls(_WANTED)
    rag = RAGFlow(key, base_url=base_url)
    dataset = rag.create_dataset("timetables")
    _parsed(dataset)
    chat = _chats(rag, dataset)
    session = _sessions(chat)
    _questions(chat, session, is_cumulative=is_cumulative)
    _deleting(rag, chat)
    rag.delete_datasets([dataset.id])
    calls.check_none_was_missed()
    return calls


def _parsed(dataset: DataSet) -> None:
    documents = dataset.upload_documents([{"display_name": "ferries.txt", "blob": TEXT}])
    done = dataset.parse_documents([one.id for one in documents])
    check([state for _, state, _, _ in done] == ["DONE"], "a document is parsed")


def _chats(rag: RAGFlow, dataset: DataSet) -> Chat:
    rag.delete_chats()
    check(rag.list_chats() == [], "what the first start made is gone")
    plain = rag.create_chat("plain")
    check(plain.llm.model_name is not None and plain.prompt.top_n == 8, "an assistant is made of defaults")
    with refused("Duplicated chat name in creating chat."):
        rag.create_chat("PLAIN")
    with refused("You don't own the dataset"):
        rag.create_chat("x", dataset_ids=["nobody's"])
    prompt = Chat.Prompt(rag, {"opener": "Ahoy!", "top_n": 3, "variables": [], "prompt": "Say it. {knowledge}"})
    vars(prompt)["refine_multiturn"] = False  # known to the service and not to the client
    model = Chat.LLM(rag, {"model_name": plain.llm.model_name, "temperature": 0.5})
    chat = rag.create_chat("ferries", avatar="data:,", dataset_ids=[dataset.id], llm=model, prompt=prompt)
    check((chat.prompt.opener, chat.prompt.top_n, chat.llm.temperature) == ("Ahoy!", 3, 0.5), "or of what was sent")
    found: list[Any] = rag.list_chats(page=1, page_size=1, orderby="update_time", desc=True, id=chat.id, name="ferries")
    check([one.id for one in found] == [chat.id], "assistants are listed, by id and name")
    check([one["id"] for one in found[0].datasets] == [dataset.id], "with their datasets")
    names = [one.name for one in rag.list_chats(desc=False)]
    check(names == ["plain", "ferries"], "in an order")
    with refused("The chat doesn't exist"):
        rag.list_chats(name="nobody")
    chat.update({"name": "boats", "llm": {"top_p": 0.9}, "prompt": {"show_quote": True}})
    changed: Any = rag.list_chats(id=chat.id)[0]
    check((changed.name, changed.llm.top_p, changed.llm.temperature) == ("boats", 0.9, 0.5), "an update merges")
    check([one["id"] for one in changed.datasets] == [dataset.id], "and leaves the datasets")
    with refused("Duplicated chat name in updating chat."):
        chat.update({"name": "Plain"})
    return chat


def _sessions(chat: Chat) -> Session:
    session = chat.create_session("First")
    check((session.name, session.chat_id) == ("First", chat.id), "a session is opened")
    check([one["content"] for one in session.messages] == ["Ahoy!"], "with the assistant's first words")
    other = chat.create_session()
    check(other.name == "New session", "a session has a name")
    session.update({"name": "Renamed"})
    check([one.id for one in chat.list_sessions(name="Renamed")] == [session.id], "it can be renamed, and found")
    listed = chat.list_sessions(page=1, page_size=1, orderby="create_time", desc=True)
    check([one.id for one in listed] == [other.id], "sessions are listed in pages")
    with refused("`message` can not be change"):
        session.update({"messages": []})
    return session


def _questions(chat: Any, session: Any, *, is_cumulative: bool) -> None:
    text = "The ferry leaves at six in the morning."
    question = scripted("When does the ferry to Amrum leave?", text=text, gap_ms=2)
    pieces = list(session.ask(question, stream=True))
    contents = [one.content for one in pieces]
    check(len(pieces) > 2, f"a stream comes in pieces: {len(pieces)}")
    whole = contents[-1] if is_cumulative else "".join(contents)
    check(whole.startswith(text[:-1]), f"which are the answer: {whole!r}")
    if is_cumulative:
        grows = all(len(later) >= len(one) for one, later in itertools.pairwise(contents))
        check(grows, "each piece holds those before it")
    check([one["document_name"] for one in pieces[-1].reference] == ["ferries.txt"], "the last one tells its source")
    [answer] = session.ask(scripted("And bicycles?", text="They travel free."), stream=False)
    check(answer.content.startswith("They travel free"), "a whole answer is one message")
    check(isinstance(answer.reference, list), "with its sources")
    cumulative = list(session.ask(scripted(text="One two three four."), stream=True, legacy=True))
    check(cumulative[-1].content.startswith("One two three four"), "`legacy` repeats the text in every dialect")
    failed = list(session.ask(scripted(pieces=3, error_after=1), stream=True))
    check(failed[-1].content.startswith("**ERROR**"), "a model that fails in the middle says so in the stream")
    [stored] = chat.list_sessions(id=session.id)
    roles = [one["role"] for one in stored.messages]
    check(roles == ["assistant"] + ["user", "assistant"] * 4, f"everything said is kept: {roles}")
    sources = stored.messages[2]["reference"]
    check([one["document_name"] for one in sources] == ["ferries.txt"], "with what it rests on")


def _deleting(rag: RAGFlow, chat: Any) -> None:
    gone = chat.create_session("gone")
    chat.delete_sessions([gone.id])
    check(gone.id not in [one.id for one in chat.list_sessions()], "a session can be deleted")
    with refused(f"The chat doesn't own the session {gone.id}"):
        chat.delete_sessions([gone.id])
    chat.delete_sessions()
    check(chat.list_sessions() == [], "without ids all of an assistant go")
    with refused("Assistant(nobody's) not found."):
        rag.delete_chats(["nobody's"])
    rag.delete_chats([chat.id])
    check([one.name for one in rag.list_chats()] == ["plain"], "an assistant can be deleted")
    with refused("You don't own the assistant"):
        chat.list_sessions()
    rag.delete_chats()
    check(rag.list_chats() == [], "without ids all go")


def scripted(question: str = "How?", **directive: Any) -> str:
    """Return a question that tells the scripted provider how to answer (tests/upstream/directives.py)."""
    return f"{question} @@{json.dumps(directive)}"


def main() -> None:
    """Walk, and say with what."""
    base_url, key, shape = sys.argv[1:]
    walk(base_url, key, is_cumulative=shape == "cumulative").tell()


if __name__ == "__main__":
    main()
