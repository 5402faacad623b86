"""Bodies and queries of datasets: strict, so that a misspelt field is told of (knowledge.md 1.1 to 1.7)."""

import uuid
from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from schemas.bodies import LooseBody, UrlText

_MOST_TEXT = 65_535


def _uuid1(value: str) -> str:
    try:
        parsed = uuid.UUID(value)
    except ValueError:
        parsed = None
    if parsed is None or parsed.version != 1:
        raise PydanticCustomError("invalid_uuid1", "Invalid UUID1 format")
    return parsed.hex


def _distinct(ids: list[str] | None) -> list[str] | None:
    if ids is None or len(set(ids)) == len(ids):
        return ids
    repeated = ", ".join(each for each in dict.fromkeys(ids) if ids.count(each) > 1)
    raise PydanticCustomError("duplicate_ids", "Duplicate ids: '{ids}'", {"ids": repeated})


def _avatar(value: str | None) -> str | None:
    if value is None:
        return None
    prefix, comma, _ = value.partition(",")
    if not comma:
        raise PydanticCustomError("avatar", "Missing MIME prefix. Expected format: data:<mime>;base64,<data>")
    if not prefix.startswith("data:"):
        raise PydanticCustomError("avatar", "Invalid MIME prefix format. Must start with 'data:'")
    if prefix.removeprefix("data:").partition(";")[0] not in ("image/jpeg", "image/png"):
        raise PydanticCustomError("avatar", "Unsupported MIME type. Allowed: ['image/jpeg', 'image/png']")
    return value


def _model_name(value: str | None) -> str | None:
    if value is None:
        return None
    if "@" not in value:
        raise PydanticCustomError("model_name", "Embedding model identifier must follow <model_name>@<provider> format")
    name, _, provider = value.partition("@")
    if not name or not provider:
        raise PydanticCustomError("model_name", "Both model_name and provider must be non-empty strings")
    if not name.strip() or not provider.strip():
        raise PydanticCustomError("model_name", "Model name and provider cannot be whitespace-only strings")
    return value


def _cluster_prompt(value: str) -> str:
    if "{cluster_content}" not in value:
        raise PydanticCustomError("prompt", "The prompt must hold {cluster_content}")
    return value


Uuid1 = Annotated[str, AfterValidator(_uuid1)]
DatasetName = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=128), Field(examples=["handbook"])
]
Avatar = Annotated[str | None, Field(max_length=_MOST_TEXT), AfterValidator(_avatar)]
Description = Annotated[str | None, Field(max_length=_MOST_TEXT)]
EmbeddingModelName = Annotated[
    Annotated[str, StringConstraints(strip_whitespace=True, max_length=255)] | None, AfterValidator(_model_name)
]
Permission = Literal["me", "team"]
ChunkMethod = Literal[
    "naive", "book", "email", "laws", "manual", "one", "paper", "picture", "presentation", "qa", "table", "tag"
]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class RaptorConfig(_Strict):
    """`parser_config.raptor`."""

    use_raptor: bool = False
    prompt: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1), AfterValidator(_cluster_prompt)] = (
        "{cluster_content}"
    )
    max_token: Annotated[int, Field(ge=1, le=2048)] = 256
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_cluster: Annotated[int, Field(ge=1, le=1024)] = 64
    random_seed: Annotated[int, Field(ge=0)] = 0


class GraphragConfig(_Strict):
    """`parser_config.graphrag`."""

    use_graphrag: bool = False
    entity_types: list[str] = []
    method: Literal["light", "general"] = "light"
    community: bool = False
    resolution: bool = False


class ParserConfig(_Strict):
    """How documents are cut (knowledge.md 1.3). Only the keys that were sent count."""

    auto_keywords: Annotated[int, Field(ge=0, le=32)] = 0
    auto_questions: Annotated[int, Field(ge=0, le=10)] = 0
    chunk_token_num: Annotated[int, Field(ge=1, le=2048, description="Tokens a chunk may have, about.")] = 512
    delimiter: Annotated[str, Field(min_length=1)] = "\\n!"
    html4excel: bool = False
    layout_recognize: str = "DeepDOC"
    tag_kb_ids: list[str] = []
    topn_tags: Annotated[int, Field(ge=1, le=10)] = 1
    filename_embd_weight: Annotated[float | None, Field(ge=0, le=1)] = 0.1
    task_page_size: Annotated[int | None, Field(ge=1)] = None
    pages: list[list[int]] | None = None
    raptor: RaptorConfig = RaptorConfig()
    graphrag: GraphragConfig = GraphragConfig()


def _config_size(config: ParserConfig | None) -> ParserConfig | None:
    size = len(orjson.dumps(config.model_dump(exclude_unset=True)).decode()) if config is not None else 0
    if size > _MOST_TEXT:
        raise PydanticCustomError(
            "config_size",
            "Parser config exceeds size limit (max 65,535 characters). Current size: {size}",
            {"size": size},
        )
    return config


Config = Annotated[ParserConfig | None, AfterValidator(_config_size)]


class _DatasetBody(LooseBody):
    """What create and update share; a field that is not known is refused."""

    model_config = ConfigDict(extra="forbid")

    avatar: Avatar = None
    description: Description = None
    embedding_model: EmbeddingModelName = None
    permission: Permission = "me"
    chunk_method: ChunkMethod = "naive"
    parser_config: Config = None

    def sent(self) -> dict[str, Any]:
        """Return what was sent, nested objects without their defaults."""
        return self.model_dump(exclude_unset=True)


class DatasetCreate(_DatasetBody):
    """Body of `POST /datasets`."""

    name: DatasetName


class DatasetUpdate(_DatasetBody):
    """Body of `PUT /datasets/{dataset_id}`: any subset."""

    name: DatasetName = ""
    pagerank: Annotated[int, Field(ge=0, le=100)] = 0


class DatasetDeletion(LooseBody):
    """Body of `DELETE /datasets`: null means all of them, unless `delete_all` is there and false (1.7)."""

    model_config = ConfigDict(extra="forbid")

    ids: Annotated[list[Uuid1] | None, AfterValidator(_distinct)]
    delete_all: bool = True

    @model_validator(mode="before")
    @classmethod
    def _without_ids(cls, value: Any) -> Any:
        """Read the newer rule, which a body that holds `delete_all` asks for (conversations.md 1.1)."""
        if not isinstance(value, dict) or "delete_all" not in value:
            return value
        return {**value, "ids": value.get("ids") or (None if value["delete_all"] is True else [])}


class DatasetQuery(BaseModel):
    """Query of `GET /datasets`; unlike bodies, text is read as numbers here."""

    model_config = ConfigDict(extra="forbid")

    id: Uuid1 | None = None
    name: UrlText = ""
    page: Annotated[int, Field(ge=1)] = 1
    page_size: Annotated[int, Field(ge=1)] = 30
    orderby: Literal["create_time", "update_time"] = "create_time"
    desc: bool = True
