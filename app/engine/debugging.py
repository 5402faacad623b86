"""The debug text of an answer: what was asked of the model, and how long each step took (conversations.md 4.4)."""

from app.engine.draft import Draft


def debug_text(draft: Draft) -> str:
    """Return system text, query, timings in milliseconds and token speed; empty when no model was asked."""
    if not draft.prompt:
        return ""
    lines = [draft.prompt, "", "### Timings:"]
    lines += [f"- {name}: {milliseconds:.1f} ms" for name, milliseconds in draft.timings_ms.items()]
    answer = next((call for call in reversed(draft.calls) if call.purpose == "answer"), None)
    if answer is not None:
        seconds = max(answer.duration_ms, 0.001) / 1000
        tokens = answer.usage.completion_tokens
        lines += ["", f"### Tokens:\n- {tokens} of {answer.model}, {tokens / seconds:.0f} a second"]
    return "\n".join(lines)
