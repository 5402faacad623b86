"""Bodies of search apps and of questions to datasets (conversations.md 7.2, 7.3, 7.6, 7.8). Services check them."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from schemas.bodies import LooseBody


def _described(kind: str, description: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "description": description, **more})


_IDS: dict[str, Any] = {"items": {"type": "string"}}
_QUESTION = _described("string", "What to look for.")
_SEARCH_ID = _described("string", "A search app, for its settings.")
_KB_IDS = _described("array", "Datasets, where the search app names none.", **_IDS)
_CONFIG = _described(
    "object",
    "How it searches and answers; keys that are not known are kept.",
    additionalProperties=True,
    properties={
        "kb_ids": {"type": "array", **_IDS},
        "doc_ids": {"type": "array", **_IDS},
        "similarity_threshold": {"type": "number"},
        "vector_similarity_weight": {"type": "number"},
        "top_k": {"type": "integer"},
        "rerank_id": {"type": "string"},
        "use_kg": {"type": "boolean"},
        "chat_id": {"type": "string", "description": "The chat model, despite the name."},
        "llm_setting": {"type": "object", "additionalProperties": True},
        "meta_data_filter": {"type": "object", "additionalProperties": True},
        "reference_metadata": {"type": "object", "additionalProperties": True},
    },
)


class StreamedQuestion(LooseBody):
    """A question whose answer is streamed."""

    legacy: Annotated[Any, _described("boolean", "Each event holds the whole text so far.")] = None
    stream_mode: Annotated[Any, _described("string", "`cumulative` or `incremental`.")] = None

    @property
    def is_cumulative(self) -> bool:
        """Whether each event holds the whole text so far (4.5)."""
        return self.legacy is True or self.stream_mode == "cumulative"


class DatasetQuestion(StreamedQuestion):
    """A question to datasets."""

    question: Annotated[Any, _QUESTION] = None
    dataset_ids: Annotated[Any, _described("array", "Where to look.", **_IDS)] = None


class SearchQuestion(StreamedQuestion):
    """A question to a search app."""

    question: Annotated[Any, _QUESTION] = None
    kb_ids: Annotated[Any, _KB_IDS] = None
    search_id: Annotated[Any, _SEARCH_ID] = None


class RelatedQuestion(LooseBody):
    """A question to go on from."""

    question: Annotated[Any, _described("string", "What was asked.")] = None
    industry: Annotated[Any, _described("string", "Stay within this industry.")] = None


class SearchRelatedQuestion(LooseBody):
    """A question to go on from, by the model of a search app."""

    question: Annotated[Any, _described("string", "What was asked.")] = None
    search_id: Annotated[Any, _SEARCH_ID] = None


class RetrievalTestBody(LooseBody):
    """A search with all its settings; those that are not sent are the search app's."""

    kb_id: Annotated[
        Any,
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", **_IDS}], "description": "Where to look."}),
    ] = None
    question: Annotated[Any, _QUESTION] = None
    page: Annotated[Any, _described("integer", "From 1.", default=1)] = 1
    size: Annotated[Any, _described("integer", "Chunks on a page.", default=30)] = 30
    doc_ids: Annotated[Any, _described("array", "Only in these documents.", **_IDS)] = None
    similarity_threshold: Annotated[Any, _described("number", "Least score.", default=0.0)] = 0.0
    vector_similarity_weight: Annotated[Any, _described("number", "Weight of the vectors, 0 to 1.", default=0.3)] = 0.3
    top_k: Annotated[Any, _described("integer", "How many neighbours are looked at.", default=1024)] = 1024
    rerank_id: Annotated[Any, _described("string", "A rerank model.")] = None
    use_kg: Annotated[Any, _described("boolean", "Put what the knowledge graph says first.")] = False
    keyword: Annotated[Any, _described("boolean", "Let a chat model add up to 3 keywords.")] = False
    highlight: Annotated[Any, _described("boolean", "Show where the words were found.")] = False
    cross_languages: Annotated[Any, _described("array", "Ask in these languages instead.", **_IDS)] = None
    search_id: Annotated[Any, _SEARCH_ID] = None
    meta_data_filter: Annotated[Any, _described("object", "Only documents whose metadata fit.")] = None
    include_metadata: Annotated[Any, _described("boolean", "Show the documents' metadata.")] = False
    metadata_fields: Annotated[Any, _described("array", "Only these of it.", **_IDS)] = None


class SearchAppCreate(LooseBody):
    """A new search app."""

    name: Annotated[Any, _described("string", "At most 255 bytes; a number is added to one that is taken.")] = None
    description: Annotated[Any, _described("string", "What it is for.")] = None
    avatar: Annotated[Any, _described("string", "Base64, a data URI or a URL.")] = None
    search_config: Annotated[Any, _CONFIG] = None


class SearchAppUpdate(SearchAppCreate):
    """What is laid over a search app: `search_config` key by key."""

    name: Annotated[Any, _described("string", "Unique whatever the case; at most 128 bytes.")] = None
    tenant_id: Annotated[Any, _described("string", "Your own, if it is sent at all.")] = None


class NamedSearchAppUpdate(SearchAppUpdate):
    """The same, with the search app's id in the body."""

    search_id: Annotated[Any, _described("string", "The search app.")] = None


class SearchAppName(LooseBody):
    """Which search app."""

    search_id: Annotated[Any, _described("string", "The search app.")] = None


class SearchOwners(LooseBody):
    """Whose search apps to list; absent and empty: all that can be seen."""

    owner_ids: Annotated[Any, _described("array", "Tenants.", **_IDS)] = None
