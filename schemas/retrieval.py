"""Body of `POST /retrieval` (knowledge.md 4.1)."""

from typing import Annotated, Any

from pydantic import WithJsonSchema

from schemas.bodies import LooseBody


def _described(kind: str, description: str, **more: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": kind, "description": description, **more})


class RetrievalBody(LooseBody):
    """A question over datasets. Checked in the contract's order by the service."""

    question: Annotated[Any, _described("string", "What to look for.")] = None
    dataset_ids: Annotated[Any, _described("array", "Where to look.", items={"type": "string"})] = None
    document_ids: Annotated[Any, _described("array", "Only in these.", items={"type": "string"})] = None
    page: Annotated[Any, _described("integer", "From 1.", default=1)] = 1
    page_size: Annotated[Any, _described("integer", "Chunks on a page.", default=30)] = 30
    similarity_threshold: Annotated[Any, _described("number", "Least score, 0 to 1.", default=0.2)] = 0.2
    vector_similarity_weight: Annotated[Any, _described("number", "Weight of the vectors, 0 to 1.", default=0.3)] = 0.3
    top_k: Annotated[Any, _described("integer", "How many neighbours are looked at.", default=1024)] = 1024
    rerank_id: Annotated[Any, _described("string", "A rerank model.")] = None
    keyword: Annotated[Any, _described("boolean", "Let a chat model add keywords to the question.")] = False
    highlight: Annotated[Any, _described("boolean", "Show where the words were found.")] = False
    cross_languages: Annotated[Any, _described("array", "Ask in these languages too.", items={"type": "string"})] = None
    metadata_condition: Annotated[Any, _described("object", "Only documents whose metadata fit.")] = None
    use_kg: Annotated[Any, _described("boolean", "Put what the knowledge graph says first.")] = False
