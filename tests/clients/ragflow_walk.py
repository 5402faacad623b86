"""Walks every dataset, document and chunk method of an unmodified `ragflow-sdk` 0.22 against a running service.

`python -m tests.clients.ragflow_walk <base url> <key>`. Prints one line per step; ends with the methods it has called.
"""

import inspect
import sys
import time
from typing import Any

from ragflow_sdk import Chunk, DataSet, Document, RAGFlow

from tests.clients.walking import Calls, check, refused

TEXTS = {
    "ferries.txt": b"The ferry to Amrum leaves at six in the morning.\nBicycles travel free of charge.\n",
    "bread.md": b"# Bread\n\nRye bread keeps for a week.\n\n## Storage\n\nKeep it in a dry box.\n",
    "gr\u00fc\u00dfe \u201cund\u201d \u65e5\u672c.txt": "Gr\u00fc\u00dfe aus Husum.".encode(),
}
_KNOWLEDGE = ("create_dataset", "delete_datasets", "get_dataset", "list_datasets", "retrieve")
_PLUMBING = ("post", "get", "put", "rm", "to_json")  # what the methods are made of


def _own(kind: type[Any]) -> list[str]:
    methods = inspect.getmembers(kind, inspect.isfunction)
    return [name for name, _ in methods if not name.startswith("_") and name not in _PLUMBING]


def walk(base_url: str, key: str) -> Calls:
    """Call everything, and check what comes back."""
    calls = Calls(((RAGFlow, _KNOWLEDGE), *((kind, _own(kind)) for kind in (DataSet, Document, Chunk))))
    rag = RAGFlow(key, base_url=base_url)
    _datasets(rag)
    dataset = rag.create_dataset("walk", description="for a walk", chunk_method="naive")
    documents = _documents(dataset)
    _chunks(rag, dataset, documents)
    _cancel(dataset)
    dataset.delete_documents()
    check(dataset.list_documents() == [], "deleting without ids empties the dataset")
    rag.delete_datasets([dataset.id])
    check(not [one for one in rag.list_datasets() if one.id == dataset.id], "the dataset is gone")
    calls.check_none_was_missed()
    return calls


def _datasets(rag: RAGFlow) -> None:
    config = DataSet.ParserConfig(rag, {"chunk_token_num": 128, "delimiter": "\n", "raptor": {"use_raptor": False}})
    made = rag.create_dataset("walk one", avatar="data:image/png;base64,", permission="team", parser_config=config)
    check(_value(made.parser_config, "chunk_token_num") == 128, "a parser config comes back as it was sent")
    again = rag.create_dataset("Walk One")
    check(again.name == "Walk One(1)", "a name that is taken gets a number")
    check(rag.get_dataset("walk one").id == made.id, "a dataset is found by its name")
    found = rag.list_datasets(page=1, page_size=1, orderby="update_time", desc=False, id=made.id)
    check([one.id for one in found] == [made.id], "a list is filtered by id")
    made.update({"name": "walked", "chunk_method": "qa", "pagerank": 3})
    check((made.name, made.chunk_method, made.pagerank) == ("walked", "qa", 3), "an update comes back in the object")
    with refused("already exists"):
        again.update({"name": "WALKED"})
    with refused("lacks permission"):
        rag.list_datasets(id="1d9f0a4e5e7a11f0a0c10242ac120002")
    with refused("at least 1 character"):
        rag.create_dataset("  ")
    with refused("Invalid UUID1 format"):
        rag.delete_datasets(["no-id"])
    rag.delete_datasets([made.id, again.id])


def _documents(dataset: DataSet) -> list[Document]:
    given = [{"display_name": name, "blob": blob} for name, blob in TEXTS.items()]
    documents: list[Document] = dataset.upload_documents(given)
    check([one.name for one in documents] == list(TEXTS), "documents come back in the order of the upload")
    for one in documents:
        check(one.download() == TEXTS[one.name], f"{one.name} comes back byte for byte")
    first = documents[0]
    first.update({"name": "boats.txt", "meta_fields": {"author": "Ann", "year": 2024}, "chunk_method": "naive"})
    check(first.name == "boats.txt", "a document can be renamed")
    with refused("extension"):
        first.update({"name": "boats.pdf"})
    done = dataset.parse_documents([one.id for one in documents])
    check({state for _, state, _, _ in done} == {"DONE"}, f"every document is parsed: {done}")
    check(all(chunks > 0 and tokens > 0 for _, _, chunks, tokens in done), f"every document has chunks: {done}")
    listed = dataset.list_documents(keywords="BOAT", page=1, page_size=10, orderby="name", desc=False)
    check([one.name for one in listed] == ["boats.txt"], "a list is filtered by a part of the name")
    check(listed[0].progress == 1.0 and "Task done" in listed[0].progress_msg, "the log says that it is done")
    check(_value(listed[0].meta_fields, "author") == "Ann", "metadata stays")
    with refused("You don't own the document"):
        dataset.list_documents(name="nobody.txt")
    return documents


def _chunks(rag: RAGFlow, dataset: DataSet, documents: list[Document]) -> None:
    first = dataset.list_documents(id=documents[0].id)[0]
    parsed = first.list_chunks()
    check(len(parsed) == first.chunk_count, "a document lists its chunks")
    added = first.add_chunk("Dogs need a ticket on the ferry.", ["dog ticket"], ["Do dogs need a ticket?"])
    check(added.content == "Dogs need a ticket on the ferry." and added.questions != [], "a chunk can be added")
    found = first.list_chunks(keywords="ticket")
    check([one.id for one in found] == [added.id], "and is found by its words at once")
    added = first.list_chunks(id=added.id)[0]
    added.update({"content": "Cats travel in a basket.", "important_keywords": ["cat basket"], "available": True})
    check(first.list_chunks(id=added.id)[0].content == "Cats travel in a basket.", "a chunk can be changed")
    hits = rag.retrieve([dataset.id], question="How do cats travel?", page_size=5, similarity_threshold=0.1)
    check(hits[0].id == added.id, "the changed chunk is the best hit")
    check(hits[0].document_name == "boats.txt" and hits[0].similarity > 0, "a hit tells where it is from")
    wanted = {"conditions": [{"name": "author", "comparison_operator": "is", "value": "Nobody"}]}
    check(rag.retrieve([dataset.id], question="cats", metadata_condition=wanted) == [], "metadata is a filter")
    added.update({"available": False})
    hidden = rag.retrieve([dataset.id], question="How do cats travel?", similarity_threshold=0.0)
    check(added.id not in [one.id for one in hidden], "a chunk that is not available is not found")
    with refused("Can't find this chunk"):
        Chunk(rag, {"id": "0" * 16, "dataset_id": dataset.id, "document_id": first.id}).update({"content": "x"})
    first.delete_chunks([added.id])
    check(len(first.list_chunks()) == len(parsed), "a chunk can be deleted")
    with refused("rm_chunk deleted chunks 0, expect 1"):
        first.delete_chunks(["0" * 16])
    first.delete_chunks()
    check(first.list_chunks() == [], "without ids every chunk of the document goes")
    others = dataset.list_documents(id=documents[1].id)[0]
    check(others.list_chunks() != [], "and those of other documents stay")


def _cancel(dataset: DataSet) -> None:
    blob = ("\n".join(f"Line {number} of a long text about harbours and tides." for number in range(40_000))).encode()
    [large] = dataset.upload_documents([{"display_name": "long.txt", "blob": blob}])
    dataset.async_parse_documents([large.id])
    dataset.async_cancel_parse_documents([large.id])
    time.sleep(0.5)  # a worker that did not hear of it would say DONE meanwhile
    stopped = dataset.list_documents(id=large.id)[0]
    check((stopped.run, stopped.chunk_count) == ("CANCEL", 0), f"parsing can be stopped: {stopped.run}")
    with refused("Can't stop parsing document with progress at 0 or 1"):
        dataset.async_cancel_parse_documents([large.id])


def _value(held: Any, name: str) -> Any:
    """Return an attribute that the client makes of a JSON key."""
    return getattr(held, name)


def main() -> None:
    """Walk, and say with what."""
    base_url, key = sys.argv[1:]
    walk(base_url, key).tell()


if __name__ == "__main__":
    main()
