"""The configured models: what an entry of the catalogue says, and the TOML file it is read from."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

ModelKind = Literal["chat", "embedding", "rerank", "vision"]
KINDS: tuple[ModelKind, ...] = get_args(ModelKind)

Capability = Literal[
    "vision",
    "tools",
    "json_schema",
    "logprobs",
    "n",
    "developer",
    "completions",
    "max_completion_tokens",
    "dimensions",
    "shortening",
    "tokens",
]
"""What a model or its provider can do.

`vision`: takes pictures. `tools`, `json_schema`, `logprobs`, `n`: knows those parameters. `developer`: knows that role.
`completions`: has the endpoint of that name. `max_completion_tokens`: wants that in place of `max_tokens`.
Of embedding models, `dimensions`: its provider gives vectors of the
length asked for; `shortening`: its vectors may be cut; `tokens`: its provider takes token numbers.
"""
ENCODINGS = ("cl100k_base", "o200k_base")
CAPABILITIES: tuple[Capability, ...] = get_args(Capability)
USUAL: tuple[Capability, ...] = ("completions", "json_schema", "tools")
"""What is believed of a chat model whose entry does not say."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """What a million tokens cost, in the operator's currency."""

    input: float = 0.0
    output: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamEntry:
    """One address that serves a model. `api_key` None: none is configured; "": none is needed."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    upstream_name: str | None = None
    provider: str | None = None  # as the ledger names it; else the entry's
    first_token_s: float | None = None
    piece_s: float | None = None
    price: Price | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelEntry:
    """One model of the catalogue; its own address, if it has one, comes before `upstreams`."""

    name: str
    provider: str
    kind: ModelKind
    base_url: str | None = None
    api_key: str | None = field(default=None, repr=False)
    upstream_name: str | None = None
    dimensions: int | None = None
    context: int | None = None
    aliases: tuple[str, ...] = ()
    price: Price | None = None
    default: bool = False
    upstreams: tuple[UpstreamEntry, ...] = ()
    capabilities: tuple[str, ...] | None = None  # None: not said
    encoding: str | None = None  # of an embedding model: how callers' token numbers are read
    batch: int | None = None  # of an embedding model: most inputs of one call

    @property
    def able(self) -> tuple[str, ...]:
        """What the model can do, as far as is known."""
        if self.capabilities is not None:
            return self.capabilities
        return () if self.kind in ("embedding", "rerank") else USUAL

    @property
    def wire_name(self) -> str:
        """`name@provider`."""
        return f"{self.name}@{self.provider}"

    @property
    def is_builtin(self) -> bool:
        """Tell whether it runs here."""
        return self.provider.lower() == "builtin"

    @property
    def addresses(self) -> tuple[UpstreamEntry, ...]:
        """Where it is served, in the order to ask; only those with a key."""
        own = UpstreamEntry(base_url=self.base_url, api_key=self.api_key) if self.base_url else None
        everywhere = ((own,) if own else ()) + self.upstreams
        return tuple(each for each in everywhere if each.api_key is not None)

    @property
    def is_usable(self) -> bool:
        """Tell whether it can be called: one without a key is known only."""
        return self.is_builtin or bool(self.addresses)


class ModelsFileInvalid(ValueError):
    """The models file cannot be used; the message names file, entry and key."""


def load_models_file(path: Path, environment: Mapping[str, str] = os.environ) -> list[ModelEntry]:
    """Read `[[model]]` entries (operations.md 3). `api_key_env` names a variable of `environment`.

    Raises:
        ModelsFileInvalid: the file, an entry or a key is at fault.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ModelsFileInvalid(f"{path}: cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ModelsFileInvalid(f"{path}: not valid TOML: {error}") from error
    if unknown := sorted(tables.keys() - {"model"}):
        raise ModelsFileInvalid(f"{path}: unknown key `{unknown[0]}`; models are listed as [[model]]")
    models = tables.get("model", [])
    if not isinstance(models, list) or not all(isinstance(each, dict) for each in models):
        raise ModelsFileInvalid(f"{path}: `model` must be written as [[model]]")
    entries = [
        _entry(_Table(f"{path}: {_label(number, each)}", each, environment)) for number, each in enumerate(models)
    ]
    _check_together(path, entries)
    return entries


class _Table:
    """One TOML table, read key by key; every complaint names the place."""

    def __init__(self, place: str, values: dict[str, Any], environment: Mapping[str, str]) -> None:
        self._place = place
        self._values = dict(values)
        self._environment = environment

    def has(self, key: str) -> bool:
        return key in self._values

    def text(self, key: str) -> str | None:
        value = self._values.pop(key, None)
        if value is not None and (not isinstance(value, str) or not value.strip()):
            raise self.fault(key, "must be a text that is not empty")
        return value

    def needed_text(self, key: str) -> str:
        value = self.text(key)
        if value is None:
            raise self.fault(key, "is missing")
        return value

    def count(self, key: str) -> int | None:
        value = self._values.pop(key, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
            raise self.fault(key, "must be a whole number above 0")
        return value

    def number(self, key: str) -> float | None:
        value = self._values.pop(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value >= 0:
            raise self.fault(key, "must be a number, not negative")
        return float(value)

    def flag(self, key: str) -> bool:
        value = self._values.pop(key, False)
        if not isinstance(value, bool):
            raise self.fault(key, "must be true or false")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        value = self._values.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(each, str) and each for each in value):
            raise self.fault(key, "must be a list of texts")
        return tuple(value)

    def url(self, key: str) -> str | None:
        value = self.text(key)
        if value is not None and not value.startswith(("http://", "https://")):
            raise self.fault(key, "must start with http:// or https://")
        return value

    def key(self) -> str | None:
        """Return the API key; "" says that none is needed."""
        value, variable = self._values.pop("api_key", None), self.text("api_key_env")
        if value is not None and not isinstance(value, str):
            raise self.fault("api_key", "must be a text")
        if value is not None and variable is not None:
            raise self.fault("api_key_env", "cannot stand beside api_key")
        return value if variable is None else self._environment.get(variable) or None

    def tables(self, key: str) -> list["_Table"]:
        value = self._values.pop(key, [])
        if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
            raise self.fault(key, "must be a list of tables")
        return [_Table(f"{self._place}, {key}[{at}]", each, self._environment) for at, each in enumerate(value)]

    def table(self, key: str) -> "_Table | None":
        value = self._values.pop(key, None)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.fault(key, "must be a table")
        return _Table(f"{self._place}, {key}", value, self._environment)

    def finish(self) -> None:
        if self._values:
            raise self.fault(min(self._values), "is not a known key")

    def fault(self, key: str, what: str) -> ModelsFileInvalid:
        return ModelsFileInvalid(f"{self._place}: `{key}` {what}")


def _entry(table: _Table) -> ModelEntry:
    name, provider, kind = table.needed_text("name"), table.needed_text("provider"), table.needed_text("kind")
    if kind not in KINDS:
        raise table.fault("kind", f"must be one of {', '.join(KINDS)}")
    if "@" in provider:
        raise table.fault("provider", "cannot contain @")
    entry = ModelEntry(
        name=name,
        provider=provider,
        kind=kind,
        base_url=table.url("base_url"),
        api_key=table.key(),
        upstream_name=table.text("upstream_name"),
        dimensions=table.count("dimensions"),
        context=table.count("context"),
        aliases=table.texts("aliases"),
        price=_price(table),
        default=table.flag("default"),
        upstreams=tuple(_upstream(each) for each in table.tables("upstreams")),
        capabilities=table.texts("capabilities") if table.has("capabilities") else None,
        encoding=table.text("encoding"),
        batch=table.count("batch"),
    )
    table.finish()
    if unknown := sorted(set(entry.capabilities or ()) - set(CAPABILITIES)):
        raise table.fault("capabilities", f"has an unknown word, {unknown[0]}; known are {', '.join(CAPABILITIES)}")
    if entry.encoding not in (None, *ENCODINGS):
        raise table.fault("encoding", f"must be one of {', '.join(ENCODINGS)}")
    if not (entry.is_builtin or entry.base_url or entry.upstreams):
        raise table.fault("base_url", "is missing, and there are no upstreams")
    if kind == "embedding" and entry.dimensions is None and not entry.is_builtin:
        raise table.fault("dimensions", "is missing: an embedding model needs it")
    return entry


def _upstream(table: _Table) -> UpstreamEntry:
    base_url = table.url("base_url")
    if base_url is None:
        raise table.fault("base_url", "is missing")
    upstream = UpstreamEntry(
        base_url=base_url,
        api_key=table.key(),
        upstream_name=table.text("upstream_name"),
        provider=table.text("provider"),
        first_token_s=table.number("first_token_s"),
        piece_s=table.number("piece_s"),
        price=_price(table),
    )
    table.finish()
    return upstream


def _price(table: _Table) -> Price | None:
    inner = table.table("price")
    if inner is None:
        return None
    price = Price(input=inner.number("input") or 0.0, output=inner.number("output") or 0.0)
    inner.finish()
    return price


def _check_together(path: Path, entries: list[ModelEntry]) -> None:
    names: set[tuple[str, str, str]] = set()
    defaults: set[str] = set()
    for number, entry in enumerate(entries):
        place = f"{path}: {_label(number, {'name': entry.name})}"
        for name in (entry.name, *entry.aliases):
            key = (entry.kind, name, entry.provider.lower())
            if key in names:
                raise ModelsFileInvalid(f"{place}: `name` {name}@{entry.provider} is there twice")
            names.add(key)
        if entry.default and entry.kind in defaults:
            raise ModelsFileInvalid(f"{place}: `default` is set on another {entry.kind} model too")
        if entry.default:
            defaults.add(entry.kind)


def _label(number: int, table: dict[str, Any]) -> str:
    name = table.get("name")
    return f"[[model]] number {number + 1}" + (f" ({name})" if isinstance(name, str) else "")
