"""What routes of search ask for: the tools of a search page, and a stream of an answer from datasets."""

from typing import Annotated

from fastapi import Depends, Request, Response

from app.domain.errors import Broken, UpstreamFailed
from app.services.asking_datasets import DatasetAnswers, Read
from app.services.search_tools import SearchTools
from app.wire.native_stream import NativeStream
from app.wire.native_stream_22 import NativeStream22, failed_events_22
from routers.deps import TurnCall, speaks_22
from routers.native_answers import prompt_of
from routers.streaming import SSE_HEADERS, stream_turn
from schemas.searches import StreamedQuestion


async def _tools(request: Request) -> SearchTools:
    state = request.app.state
    return SearchTools(
        database=state.database,
        retriever=state.retriever,
        catalogue=state.catalogue,
        tokens=state.tokens,
        quotas=state.quotas,
    )


Tools = Annotated[SearchTools, Depends(_tools)]


async def stream_answer(call: TurnCall, read: Read, body: StreamedQuestion) -> Response:
    """Answer a question to datasets as it goes. To RAGFlow 0.22 a model that fails has answered so."""
    await call.take_stream()
    is_compat22 = speaks_22(call.request) and body.stream_mode != "incremental"
    answers = DatasetAnswers(call.engine, call.request.app.state.catalogue)
    turn_id = await answers.open(call.caller, call.recognition, read, keeps_prompt=call.edge.expose_prompt)
    prompt = prompt_of(call, turn_id)
    if not is_compat22:
        return await stream_turn(call, turn_id, NativeStream(turn_id, is_cumulative=body.is_cumulative, prompt=prompt))
    try:
        return await stream_turn(
            call, turn_id, NativeStream22(turn_id, has_message=True, is_shaped=False, prompt=prompt)
        )
    except (UpstreamFailed, Broken) as error:
        return Response(failed_events_22(error.message), media_type="text/event-stream", headers=SSE_HEADERS)
