"""Turns of assistants asked for under `/v1/chat/completions` (openai.md 3)."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson

from app.domain.chats import ChatMissing, ParameterMissing
from app.domain.errors import BadArgument, Invalid
from app.domain.ids import ChatId, SessionId, TurnId
from app.domain.models import ChatMessage
from app.domain.principals import Caller
from app.domain.references import GONE, Reference
from app.domain.sessions import Message
from app.domain.turns import SessionBusy
from app.engine.ask import Ask, Found, Recognition, Skin
from app.engine.tool_calls import turn_of_call
from app.llm.catalogue import ModelCatalogue
from app.llm.entries import ModelEntry
from app.services.completions import Completions, Look, Overrides, Question
from app.services.v1_assistant_messages import Spoken, read_messages
from app.services.v1_assistant_params import AssistantParams, read_params
from app.services.v1_models import ModelNotFound, V1Models
from repositories.unit_of_work import UnitOfWork


class V1Assistants:
    """Opens turns for calls whose model is an assistant."""

    def __init__(self, completions: Completions, catalogue: ModelCatalogue, models: V1Models) -> None:
        self._completions = completions
        self._catalogue = catalogue
        self._models = models

    async def open(
        self, caller: Caller, chat_id: ChatId, body: Mapping[str, Any], recognition: Recognition
    ) -> tuple[TurnId, Ask, AssistantParams]:
        """Open the turn a body asks for; the body's nulls are gone.

        Raises:
            Invalid: the body breaks a rule.
            ModelNotFound: the caller has no such assistant.
            Missing: the caller has no such session.
            SessionBusy: another turn of the session runs; nothing was stored.
        """
        body = _storable(body)
        params = read_params(body)
        spoken = read_messages(body.get("messages"), assistant=chat_id, in_session=params.session_id is not None)

        def shape(ask: Ask) -> Ask:
            self._check_model(ask, params, spoken)
            return _shaped(ask, params, spoken)

        question = Question(
            text=spoken.question or "",
            session_id=params.session_id,
            metadata_condition=params.metadata_condition,
            variables=params.variables,
            overrides=Overrides(options=params.options),
            history=spoken.history,
        )
        look = _look(params, spoken)
        try:
            turn_id, ask = await self._completions.shaped(caller, chat_id, question, recognition, shape, look)
        except ChatMissing as error:
            raise ModelNotFound(chat_id) from error
        except SessionBusy as error:
            raise SessionBusy(error.message, retry_after_s=_come_back_s(recognition.retry_count or 0)) from error
        except ParameterMissing as error:
            param = f"variables.{error.param}"
            raise Invalid(
                f"Missing required parameter: `{param}`.", param=param, code="missing_required_parameter"
            ) from error
        return turn_id, ask, params

    def _check_model(self, ask: Ask, params: AssistantParams, spoken: Spoken) -> None:
        """Refuse what the assistant's model cannot do, rather than leave it out in silence."""
        entry = self._catalogue.entry("chat", ask.chat.llm_id)
        able: tuple[str, ...] = () if entry.is_builtin else entry.able
        for capability, param in params.needs.items():
            if capability not in able:
                code = "unsupported_parameter" if capability == "logprobs" else "unsupported_value"
                raise BadArgument(_cannot(entry, param), param=param, code=code)
        if spoken.image_path is not None and not self._models.sees(entry):
            message = f"The model `{entry.name}` takes no images."
            raise BadArgument(message, param=spoken.image_path, code="unsupported_value")


def _storable(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a body without NUL, which no text of Postgres can hold."""
    return _without_nul(body) if b"\\u0000" in orjson.dumps(body) else body


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\x00", "\ufffd")
    if isinstance(value, list):
        return [_without_nul(one) for one in value]
    if isinstance(value, dict):
        return {_without_nul(key): _without_nul(one) for key, one in value.items()}
    return value


def _come_back_s(retry_count: int) -> float:
    """Return when a caller who was refused so often should ask a busy session again, in seconds.

    Stock clients try three times: half a second would have them give up while a usual answer is being written.
    """
    return min(8.0, 0.5 * (1 << 2 * min(retry_count, 4)))


def _cannot(entry: ModelEntry, param: str) -> str:
    return f"The model `{entry.name}` of this assistant does not support `{param}`."


def _shaped(ask: Ask, params: AssistantParams, spoken: Spoken) -> Ask:
    found: Found | None = None
    datasets = ask.dataset_ids
    if params.dataset_ids is not None:
        datasets = tuple(one for one in datasets if one in params.dataset_ids)
        if ask.is_searching and not datasets:
            found = Found(total=0)
    in_session = ask.session_id is not None
    skin = Skin(
        instructions=spoken.instructions,
        before=spoken.history if in_session else (),
        said=spoken.said,
        found=found,
        is_marking=not (params.is_structured or params.has_logprobs),
        is_prose=not params.is_structured,
        has_tools=params.has_tools,
        calls_one=params.calls_one,
    )
    return replace(
        ask,
        options=replace(ask.options, extra={**ask.options.extra, **params.extra}),
        history=() if in_session else ask.history,
        dataset_ids=datasets,
        user_id=params.user_id or None,
        skin=skin,
    )


def _look(params: AssistantParams, spoken: Spoken) -> Look | None:
    """Return what has to be looked up, None when that is nothing."""
    earlier = turn_of_call(spoken.answered_call) if spoken.answered_call is not None else None
    if params.session_id is None and earlier is None:
        return None

    async def look(unit: UnitOfWork, ask: Ask) -> Ask:
        if ask.session_id is not None and params.user_id:
            await unit.sessions.change(ask.session_id, user_id=params.user_id)
        if spoken.results and ask.session_id is not None:
            ask = await _after_calls(unit, ask, ask.session_id, spoken)
        turn = await unit.turns.get(earlier) if earlier is not None else None
        if earlier is None or turn is None or turn.chat_id != ask.chat.id:
            return ask
        question, answer = _both(await unit.messages.of_turn(earlier))
        if question is None or answer is None:
            return ask
        asked = (question.extras or {}).get("question", question.content)
        if spoken.question is None:
            ask = _continued(ask, asked, spoken.results)
        elif asked != spoken.question:
            return ask
        if answer.references is None or ask.skin.found is not None:
            return ask
        kept = _still_there(answer.references, ask)
        found = Found(references=kept, total=answer.reference_total)
        return replace(ask, skin=replace(ask.skin, found=found))

    return look


def _still_there(references: tuple[Reference, ...], ask: Ask) -> tuple[Reference, ...]:
    """Return those of an earlier answer's references that a new one may rest on: none of deleted documents (C-08)."""
    return tuple(
        one for one in references if one is not GONE and (not one.dataset_id or one.dataset_id in ask.dataset_ids)
    )


async def _after_calls(unit: UnitOfWork, ask: Ask, session_id: SessionId, spoken: Spoken) -> Ask:
    """Keep what the tools gave back beside the question, if the session's last answer asked for it.

    Raises:
        BadArgument: it asked for something else.
    """
    last = await unit.messages.history(session_id, but=TurnId(""), most=1)
    asked_for = {call.id for call in last[-1].tool_calls} if last else set[str]()
    if asked_for != {result.tool_call_id for result in spoken.results}:
        message = "The tool messages do not answer the calls of the session's last answer, each once."
        raise BadArgument(message, param="messages")
    kept = [{"tool_call_id": one.tool_call_id, "content": one.content} for one in spoken.results]
    return replace(ask, extras={**(ask.extras or {}), "tool_results": kept})


def _continued(ask: Ask, question: str, results: tuple[ChatMessage, ...]) -> Ask:
    """Return the ask of a turn that asks nothing new: the question is still the one before."""
    stored = "\n".join(one.content for one in results)
    extras = {**(ask.extras or {}), "question": question, "is_results_only": True}
    return replace(ask, question=question, extras=extras, skin=replace(ask.skin, stored=stored))


def _both(messages: list[Message]) -> tuple[Message | None, Message | None]:
    question = next((one for one in messages if one.role == "user"), None)
    return question, next((one for one in messages if one.role == "assistant"), None)
