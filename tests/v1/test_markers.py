"""Markers of an answer, cut anywhere (openai.md 9)."""

import pytest

from app.wire.inline_markers import MarkerStream
from tests.v1.test_assistants_citations import ANSWER, SHOWN


@pytest.mark.promise("openai:9-late-places")
def test_late_markers_break_nothing_they_stand_behind() -> None:
    """What stands last: plain text, the end of code, code that was never closed, a table, a heading."""
    cases = [
        ("Plain.", " [1][2]"),
        ("Plain.\n", " [1][2]"),
        ("```\ncode\n```", "\n\n[1][2]"),
        ("~~~~py\ncode\n~~~~\n", " [1][2]"),
        ("```\ncode\n```\n\nmore", " [1][2]"),
        ("```\ncode", ""),
        ("```py", ""),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "\n\n[1][2]"),
        ("# Heading", "\n\n[1][2]"),
    ]
    for text, expected in cases:
        for size in (1, 3, len(text)):
            stream = MarkerStream(2)
            shown = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.flush()
            late = stream.add([0, 1])
            assert (shown, late) == (text, expected), (text, size)
            assert [(shown + late)[one.start : one.end] for one in stream.spans] == (["[1]", "[2]"] if late else [])


@pytest.mark.promise("openai:9-any-cut")
def test_markers_come_out_the_same_however_the_text_is_cut() -> None:
    texts = [
        ANSWER,
        "`code [ID:0]` and [ID:1], ``a ` [ID:0]`` [ID:2] [ID:0]`",
        "【ID:0】(ID: 1) [id: 0, 1] [ref 1] [1](x) [ID:",
        "~~~\n[ID:0]\n~~~\n[ID:0]\n  ```py\n[ID:1]\n",
        "a   [ID:7] b [ID:7]",
    ]
    for text in texts:
        whole = rewritten(text, len(text))
        for size in range(1, 9):
            assert rewritten(text, size) == whole
        for start, end, number in whole[1]:
            assert whole[0][start:end] == f"[{number + 1}]"
    assert rewritten(ANSWER, 3)[0] == SHOWN
    assert rewritten(texts[1], 3)[0] == "`code [ID:0]` and [2], ``a ` [ID:0]`` [1]`"
    assert rewritten(texts[2], 3)[0] == "[1][2] [1][2] [2] [1](x) [ID:"
    assert rewritten(texts[4], 3)[0] == "a b"


def rewritten(text: str, size: int) -> tuple[str, list[tuple[int, int, int]]]:
    stream = MarkerStream(2)
    shown = "".join(stream.feed(text[at : at + size]) for at in range(0, len(text), size)) + stream.flush()
    return shown, [(one.start, one.end, one.number) for one in stream.spans]


@pytest.mark.promise("openai:9-held-back")
def test_only_what_may_become_a_marker_is_held_back() -> None:
    stream = MarkerStream(2)

    assert [stream.feed(piece) for piece in ("It ", "is [", "ID", ":0", "] so", ", a[1] (or", " not)")] == [
        "It", " is", "", "", " [1] so", ", a[1] (or", " not)",
    ]  # fmt: skip
    assert stream.flush() == ""
