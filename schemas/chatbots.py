"""Bodies of assistants on pages of others (conversations.md 7.4)."""

from typing import Literal

from pydantic import ConfigDict, Field

from schemas.bodies import LooseBody
from schemas.completions import RESERVED, CompletionCreate, VariableValue


class BotCompletionCreate(LooseBody):
    """Body of `POST /chatbots/{dialog_id}/completions`. Other keys are prompt variables, but for those that on the
    assistant's own route choose models, datasets and documents: a page chooses none, and they are ignored.
    """

    model_config = ConfigDict(strict=True, extra="allow", json_schema_extra={"examples": [{"question": "How?"}]})

    question: str | None = Field(default=None, description="The user's text; only asked in a session.")
    session_id: str | None = Field(default=None, description="Continue this session; else a new one is opened.")
    stream: bool | None = Field(default=None, description="SSE (default) or one JSON answer.")
    quote: bool | None = Field(default=None, description="Citations, if the assistant has them on; default no.")
    user_id: str | None = Field(default=None, description="Kept on a new session; a visitor's token decides itself.")
    legacy: bool | None = Field(default=None, description="Each event holds the whole text so far.")
    stream_mode: Literal["cumulative", "incremental"] | None = None
    on_disconnect: Literal["finish", "stop"] | None = Field(default=None, description="When the page goes away.")

    @property
    def is_streaming(self) -> bool:
        """SSE unless refused."""
        return self.stream is not False

    @property
    def is_cumulative(self) -> bool:
        """Whether each event holds the whole text so far (4.5)."""
        return self.legacy is True or self.stream_mode == "cumulative"

    def variables(self) -> dict[str, VariableValue]:
        """Return the prompt variables."""
        taken = RESERVED | set(CompletionCreate.model_fields)
        return {key: value for key, value in (self.model_extra or {}).items() if key not in taken}
