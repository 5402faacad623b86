"""Bodies and queries of the retrieval routes (knowledge.md 4.1, 4.8)."""

from typing import Annotated, Any

import orjson
from pydantic import BaseModel, Field, WithJsonSchema, field_validator
from pydantic_core import PydanticCustomError

from schemas.bodies import LooseBody, UrlText
from schemas.fields import RequestBody


def _described(kind: str, description: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "description": description, **more})


_TEXTS: dict[str, Any] = {"items": {"type": "string"}}


class RetrievalBody(LooseBody):
    """A question over datasets. Checked in the contract's order by the service."""

    question: Annotated[Any, _described("string", "What to look for.")] = None
    dataset_ids: Annotated[Any, _described("array", "Where to look.", **_TEXTS)] = None
    document_ids: Annotated[Any, _described("array", "Only in these.", **_TEXTS)] = None
    page: Annotated[Any, _described("integer", "From 1.", default=1)] = 1
    page_size: Annotated[Any, _described("integer", "Chunks on a page.", default=30)] = 30
    similarity_threshold: Annotated[Any, _described("number", "Least score, 0 to 1.", default=0.2)] = 0.2
    vector_similarity_weight: Annotated[Any, _described("number", "Weight of the vectors, 0 to 1.", default=0.3)] = 0.3
    top_k: Annotated[Any, _described("integer", "How many neighbours are looked at.", default=1024)] = 1024
    rerank_id: Annotated[Any, _described("string", "A rerank model.")] = None
    keyword: Annotated[Any, _described("boolean", "Let a chat model add up to 3 keywords to the question.")] = False
    highlight: Annotated[Any, _described("boolean", "Show where the words were found.")] = False
    cross_languages: Annotated[Any, _described("array", "Ask in these languages instead.", **_TEXTS)] = None
    metadata_condition: Annotated[Any, _described("object", "Only documents whose metadata fit.")] = None
    use_kg: Annotated[Any, _described("boolean", "Put what the knowledge graph says first.")] = False
    toc_enhance: Annotated[Any, _described("boolean", "Let the best document's table of contents help.")] = False


class DatasetSearchBody(RequestBody):
    """A question over the dataset that the path names. Types are strict."""

    question: str = Field(description="What to look for.")
    document_ids: list[str] | None = Field(default=None, description="Only in these.")
    page: int | None = Field(default=None, description="From 1.")
    page_size: int | None = Field(default=None, description="Chunks on a page; 30.")
    similarity_threshold: float | None = Field(default=None, description="Least score; 0.")
    vector_similarity_weight: float | None = Field(default=None, description="Weight of the vectors, 0 to 1; 0.3.")
    top_k: int | None = Field(default=None, description="How many neighbours are looked at; 1024.")
    rerank_id: str | None = Field(default=None, description="A rerank model.")
    keyword: bool | None = Field(default=None, description="Let a chat model add up to 3 keywords to the question.")
    highlight: bool | None = Field(default=None, description="Show where the words were found.")
    cross_languages: list[str] | None = Field(default=None, description="Ask in these languages instead.")
    metadata_condition: dict[str, Any] | None = Field(default=None, description="Only documents whose metadata fit.")
    use_kg: bool | None = Field(default=None, description="Put what the knowledge graph says first.")
    toc_enhance: bool | None = Field(default=None, description="Let the best document's table of contents help.")

    def sent(self) -> dict[str, Any]:
        """Return what was sent, without nulls; all that is found is shown unless a threshold was named."""
        return {"similarity_threshold": 0.0, **self.model_dump(exclude_none=True)}


class DatasetsSearchBody(DatasetSearchBody):
    """A question over datasets. Types are strict."""

    dataset_ids: list[str] = Field(description="Where to look.")


class DifyBody(LooseBody):
    """What Dify asks of an external knowledge base."""

    knowledge_id: Annotated[Any, _described("string", "The dataset.")] = None
    query: Annotated[Any, _described("string", "What to look for.")] = None
    use_kg: Annotated[Any, _described("boolean", "Put what the knowledge graph says first.")] = False
    retrieval_setting: Annotated[
        Any,
        _described(
            "object",
            "How far the search goes.",
            properties={
                "top_k": {"type": "integer", "description": "Most chunks to return.", "default": 1024},
                "score_threshold": {"type": "number", "description": "Least score, 0 to 1.", "default": 0.0},
            },
        ),
    ] = None
    metadata_condition: Annotated[Any, _described("object", "Only documents whose metadata fit.")] = None


class DifyQuery(BaseModel):
    """The same in a query string; the condition is JSON."""

    knowledge_id: UrlText | None = Field(default=None, description="The dataset.")
    query: UrlText | None = Field(default=None, description="What to look for.")
    use_kg: UrlText | None = Field(default=None, description="`true`: put what the knowledge graph says first.")
    top_k: UrlText | None = Field(default=None, description="Most chunks to return.")
    score_threshold: UrlText | None = Field(default=None, description="Least score, 0 to 1.")
    metadata_condition: UrlText | None = Field(default=None, description="A JSON object.")

    @field_validator("metadata_condition")
    @classmethod
    def _json(cls, value: str | None) -> str | None:
        if value:
            try:
                orjson.loads(value)
            except ValueError as error:
                raise PydanticCustomError("json", "metadata_condition must be a JSON object") from error
        return value

    def sent(self) -> dict[str, Any]:
        """Return the body that would ask the same."""
        setting = {"top_k": self.top_k, "score_threshold": self.score_threshold}
        return {
            "knowledge_id": self.knowledge_id,
            "query": self.query,
            "use_kg": self.use_kg,
            "retrieval_setting": setting,
            "metadata_condition": orjson.loads(self.metadata_condition) if self.metadata_condition else None,
        }
