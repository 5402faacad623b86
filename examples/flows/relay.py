"""A page that chats without ever holding a key: a small server of yours relays the stream to the browser.

PARLEY_API_KEY=… PARLEY_CHAT_ID=… uvicorn examples.flows.relay:app --port 8000, then open http://127.0.0.1:8000
"""

import os
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI
from fastapi.responses import HTMLResponse, Response, StreamingResponse
from pydantic import BaseModel, Field

BASE_URL = os.environ.get("PARLEY_BASE_URL", "http://127.0.0.1:9380")
KEY = os.environ.get("PARLEY_API_KEY", "")
CHAT_ID = os.environ.get("PARLEY_CHAT_ID", "")

app = FastAPI(title="relay")

PAGE = """<!doctype html><meta charset="utf-8"><title>Chat</title>
<style>body{font:16px/1.5 system-ui;max-width:40rem;margin:2rem auto;padding:0 1rem}
#log{white-space:pre-wrap;min-height:8rem}form{display:flex;gap:.5rem}input{flex:1;padding:.5rem;font:inherit}</style>
<h1>Chat</h1><div id="log" aria-live="polite"></div>
<form><input name="question" aria-label="Your question" autocomplete="off" required><button>Ask</button></form>
<script>
const log = document.querySelector("#log"), form = document.querySelector("form");
let session = null;
form.onsubmit = async (event) => {
  event.preventDefault();
  const question = form.question.value;
  form.reset();
  log.append("You: " + question + "\\nAssistant: ");
  const answer = await fetch("/chat", {method: "POST", headers: {"Content-Type": "application/json"},
    body: JSON.stringify({question, session_id: session})});
  if (!answer.ok) { log.append("error " + answer.status + "\\n"); return; }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const {value, done} = await reader.read();
    if (done) break;
    const lines = (rest + value).split("\\n");
    rest = lines.pop();
    for (const line of lines) {
      if (!line.startsWith("data: ") || line === "data: [DONE]") continue;
      const told = JSON.parse(line.slice(6));
      if (told.data === true) continue;
      session = told.data.session_id ?? session;
      log.append(told.data.answer);
    }
  }
  log.append("\\n\\n");
};
if (location.hash.length > 1) {  // a link may bring its question
  form.question.value = decodeURIComponent(location.hash.slice(1));
  form.requestSubmit();
}
</script>"""


class Question(BaseModel):
    """What the page sends."""

    question: str = Field(min_length=1, max_length=4000)
    session_id: str | None = None


@app.get("/")
async def page() -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE)


@app.post("/chat")
async def chat(question: Question) -> Response:
    """Ask the assistant and relay its events as they come; a refusal keeps its status and message."""
    service = httpx.AsyncClient(base_url=BASE_URL, timeout=httpx.Timeout(30, read=300))
    body = question.model_dump(exclude_none=True)
    headers = {"Authorization": f"Bearer {KEY}"}
    asked = service.build_request("POST", f"/api/v1/chats/{CHAT_ID}/completions", json=body, headers=headers)
    try:
        answer = await service.send(asked, stream=True)
        if answer.status_code != 200:
            told = await answer.aread()
            await service.aclose()
            return Response(told, answer.status_code, media_type="application/json")
    except httpx.TransportError:
        await service.aclose()
        return Response(status_code=502)

    async def relay() -> AsyncIterator[bytes]:
        try:
            async for piece in answer.aiter_raw():
                yield piece
        finally:  # the page was closed, or the answer has ended
            await answer.aclose()
            await service.aclose()

    return StreamingResponse(relay(), media_type="text/event-stream", headers={"Cache-Control": "no-cache"})
