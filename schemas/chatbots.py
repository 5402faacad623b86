"""Bodies of assistants on pages of others (conversations.md 7.4)."""

from typing import Any

from pydantic import Field

from schemas.completions import RESERVED, AnswerForm, CompletionCreate

_NO_VARIABLES = RESERVED | CompletionCreate.model_fields.keys()


class BotCompletionCreate(AnswerForm):
    """Body of `POST /chatbots/{dialog_id}/completions`. Other keys are prompt variables, but for those that on the
    assistant's own route choose models, datasets and documents: a page chooses none, and they are ignored.
    """

    question: str | None = Field(default=None, description="The user's text; only asked in a session.")
    session_id: str | None = Field(default=None, description="Continue this session; else a new one is opened.")
    quote: bool | None = Field(default=None, description="Citations, if the assistant has them on; default no.")
    user_id: str | None = Field(default=None, description="Kept on a new session; a visitor's token decides itself.")

    def variables(self) -> dict[str, Any]:
        """Return the prompt variables."""
        return {key: value for key, value in (self.model_extra or {}).items() if key not in _NO_VARIABLES}
