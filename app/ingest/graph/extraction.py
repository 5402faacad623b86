"""Reading notes out of one document: its text in units, each asked about in turn (knowledge.md 5.11)."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from app.domain.graph import EntityNotes, GraphNotes, RelationNotes
from app.domain.models import ChatMessage, GenerationOptions
from app.ingest.asking import Asker
from app.ingest.graph import prompts
from app.ingest.graph.merging import MOST_DESCRIPTIONS, Merger, merged
from app.ingest.graph.records import only_known_ends, read_records, says_no
from app.llm.base import TokenCounter

UNIT_TOKENS = 1024
"""A unit of text has fewer tokens than this."""

_FOLLOW_UPS = 2
_ANSWER_TOKENS = 2048
_ASIDE_TOKENS = 128  # what a follow-up question adds
_SUMMARY_WORDS = 200
_SUMMARY_TOKENS = 600
_NOTES_TOKENS = 4096  # of descriptions that go into one summary
_SUMMARY_OPTIONS = GenerationOptions(temperature=0.1, max_tokens=_SUMMARY_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphOptions:
    """What a parser config asks of the graph (knowledge.md 1.3)."""

    entity_types: tuple[str, ...]
    is_thorough: bool = False
    has_resolution: bool = False
    has_communities: bool = False


def unit_tokens(context_tokens: int | None) -> int:
    """Return what a unit is limited to: a quarter of the model's window when that is small."""
    return UNIT_TOKENS if context_tokens is None else max(64, min(UNIT_TOKENS, context_tokens // 4))


def units_of(chunks: Sequence[str], tokens: TokenCounter, *, limit: int = UNIT_TOKENS) -> list[str]:
    """Return the chunks put together, in order, into texts of less than `limit` tokens; longer ones are cut."""
    units: list[str] = []
    held: list[str] = []
    size = 0
    for part in (part for chunk in chunks for part in _parts(chunk.strip(), tokens.count, limit - 1)):
        more = tokens.count(part) + 1  # the line break in between
        if held and size + more >= limit:
            units.append("\n".join(held))
            held, size = [], 0
        held.append(part)
        size += more
    return [*units, "\n".join(held)] if held else units


def _parts(text: str, count: Callable[[str], int], most: int) -> Iterator[str]:
    """Cut a text that is too long near its middle, at a line's or sentence's end or a space if there is one."""
    if not text:
        return
    if len(text) == 1 or count(text) < most:
        yield text
        return
    middle = len(text) // 2
    ends = (text.rfind(mark, middle // 2, middle) + 1 for mark in ("\n", ". ", "。", " "))
    cut = next((end for end in ends if end), middle)
    for half in (text[:cut].strip(), text[cut:].strip()):
        yield from _parts(half, count, most)


async def read_document(asker: Asker, units: Sequence[str], options: GraphOptions, tokens: TokenCounter) -> GraphNotes:
    """Return the notes of one document, with relations between its own entities only.

    Raises:
        UpstreamFailed: the model could not answer; what it answered so far is kept.
    """
    merger = Merger()
    for unit in units:
        merger.add(await _read_unit(asker, unit, options, tokens))
    return await shortened(asker, only_known_ends(merger.notes()))


async def _read_unit(asker: Asker, text: str, options: GraphOptions, tokens: TokenCounter) -> GraphNotes:
    told, fenced = prompts.extraction(text, options.entity_types, is_thorough=options.is_thorough)
    talk = [ChatMessage(role="system", content=told), ChatMessage(role="user", content=fenced)]
    room = asker.context_tokens
    asked = GenerationOptions(temperature=0.1, max_tokens=min(_ANSWER_TOKENS, room // 4) if room else _ANSWER_TOKENS)
    answer = await asker.ask(talk, asked)
    notes = read_records(answer, options.entity_types)
    for _ in range(_FOLLOW_UPS):
        said = sum(tokens.count(message.content) for message in talk) + tokens.count(answer)
        if room is not None and said + _ASIDE_TOKENS > room * 3 // 4:
            break
        talk += [
            ChatMessage(role="assistant", content=answer or "NO"),
            ChatMessage(role="user", content=prompts.FOLLOW_UP),
        ]
        answer = await asker.ask(talk, asked)
        more = read_records(answer, options.entity_types)
        if says_no(answer) or not (more.entities or more.relations):
            break
        notes = merged([notes, more])
    return notes


async def shortened(asker: Asker, notes: GraphNotes) -> GraphNotes:
    """Return `notes` with more than twelve descriptions of one thing summarised into one.

    Raises:
        UpstreamFailed: the model could not answer.
    """
    entities = dict(notes.entities)
    relations = dict(notes.relations)
    for name, entity in notes.entities.items():
        if len(entity.descriptions) > MOST_DESCRIPTIONS:
            text = await summarised(asker, name, entity.descriptions)
            entities[name] = EntityNotes(
                name=name, types=entity.types, descriptions=frozenset({text}), document_ids=entity.document_ids
            )
    for pair, relation in notes.relations.items():
        if len(relation.descriptions) > MOST_DESCRIPTIONS:
            text = await summarised(asker, " – ".join(pair), relation.descriptions)
            relations[pair] = RelationNotes(
                pair=pair,
                descriptions=frozenset({text}),
                keywords=relation.keywords,
                strength=relation.strength,
                document_ids=relation.document_ids,
            )
    return GraphNotes(entities=entities, relations=relations)


async def summarised(asker: Asker, name: str, descriptions: frozenset[str]) -> str:
    """Return one text for many descriptions; the first of them when the model answers nothing.

    Raises:
        UpstreamFailed: the model could not answer.
    """
    shown: list[str] = []
    room = min(_NOTES_TOKENS, (asker.context_tokens or 2 * _NOTES_TOKENS) // 2) * 3  # characters, on the safe side
    for description in sorted(descriptions):
        shown.append(description[:room])
        room -= len(description)
        if room <= 0:
            break
    asked = prompts.summary(name, shown, words=_SUMMARY_WORDS)
    answer = await asker.ask([ChatMessage(role="user", content=asked)], _SUMMARY_OPTIONS)
    plain = " ".join(answer.replace("\x00", " ").encode("utf-8", "replace").decode().split())
    return plain or shown[0]
