"""The page at `/docs`: every route of the OpenAPI schema, as plain HTML that needs nothing from elsewhere."""

from collections.abc import Iterator, Mapping
from html import escape
from typing import Any

import orjson

_STYLE = """
:root{color-scheme:light dark;--line:#8884;--soft:#8882;--get:#1a7f5a;--post:#2563c9;--put:#a15c07;--delete:#c0332b}
body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}
h1{margin-bottom:.2rem}h2{margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
details{border:1px solid var(--line);border-radius:6px;margin:.4rem 0}summary{padding:.45rem .7rem;cursor:pointer}
details>div{padding:.2rem .9rem .8rem;border-top:1px solid var(--line)}
code,pre{font:13px/1.45 ui-monospace,monospace}pre{background:var(--soft);padding:.6rem;border-radius:6px;overflow:auto}
b{display:inline-block;min-width:4.2rem;font:600 12px ui-monospace,monospace}
.GET{color:var(--get)}.POST{color:var(--post)}.PUT,.PATCH{color:var(--put)}.DELETE{color:var(--delete)}
table{border-collapse:collapse;width:100%}td,th{text-align:left;vertical-align:top;padding:.2rem .6rem .2rem 0}
th{font-weight:600}i{opacity:.7}
"""
_METHODS = ("get", "post", "put", "patch", "delete")


def reference_page(schema: Mapping[str, Any]) -> str:
    """Return the page for an OpenAPI 3.1 schema."""
    info = schema["info"]
    groups: dict[str, list[str]] = {}
    for path, operations in schema["paths"].items():
        for method in _METHODS:
            if method in operations:
                tag = operations[method].get("tags", ["other"])[0]
                groups.setdefault(tag, []).append(_operation(schema, method.upper(), path, operations[method]))
    paragraphs = "".join(f"<p>{escape(part)}</p>" for part in info.get("description", "").strip().split("\n\n"))
    body = "".join(f"<h2>{escape(tag)}</h2>{''.join(parts)}" for tag, parts in groups.items())
    title = escape(f"{info['title']} {info['version']}")
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width,initial-scale=1"><style>{_STYLE}</style></head><body>'
        f'<h1>{title}</h1>{paragraphs}<p>The same for programs: <a href="/openapi.json">openapi.json</a>.</p>{body}'
        "</body></html>"
    )


def _operation(schema: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]) -> str:
    parts = [f"<p>{escape(operation.get('description', ''))}</p>"]
    rows = list(_parameters(operation)) + list(_fields(schema, operation))
    if rows:
        parts.append("<table><tr><th>name</th><th>where</th><th>type</th><th></th></tr>" + "".join(rows) + "</table>")
    answers = ", ".join(sorted(operation.get("responses", {})))
    openers = [name for scheme in operation.get("security", ()) for name in scheme]
    opened = f"; opened by {' or '.join(openers)}" if openers else ""
    parts.append(f"<p><i>answers {escape(answers + opened)}</i></p>")
    summary = escape(operation.get("summary", ""))
    return (
        f'<details><summary><b class="{method}">{method}</b> <code>{escape(path)}</code> {summary}</summary>'
        f"<div>{''.join(parts)}</div></details>"
    )


def _parameters(operation: Mapping[str, Any]) -> Iterator[str]:
    for one in operation.get("parameters", []):
        told = one.get("description") or one.get("schema", {}).get("description", "")
        yield _row(one["name"], one["in"], _type(one.get("schema", {})), told, is_required=one.get("required", False))


def _fields(schema: Mapping[str, Any], operation: Mapping[str, Any]) -> Iterator[str]:
    for kind, content in operation.get("requestBody", {}).get("content", {}).items():
        body = _resolved(schema, content.get("schema", {}))
        needed = body.get("required", [])
        where = "form" if "multipart" in kind else "body"
        for name, field in body.get("properties", {}).items():
            told = _resolved(schema, field)
            yield _row(name, where, _type(told), told.get("description", ""), is_required=name in needed)


def _row(name: str, where: str, kind: str, told: str, *, is_required: bool) -> str:
    star = " *" if is_required else ""
    return (
        f"<tr><td><code>{escape(name)}</code>{star}</td><td><i>{escape(where)}</i></td>"
        f"<td>{escape(kind)}</td><td>{escape(told)}</td></tr>"
    )


def _resolved(schema: Mapping[str, Any], part: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follow references, and the one object among alternatives."""
    if "$ref" in part:
        name = part["$ref"].rsplit("/", 1)[-1]
        return _resolved(schema, schema["components"]["schemas"][name])
    for alternative in part.get("anyOf", []):
        if "$ref" in alternative:
            return _resolved(schema, alternative)
    return part


def _type(part: Mapping[str, Any]) -> str:
    if "anyOf" in part:
        return " or ".join(dict.fromkeys(_type(one) for one in part["anyOf"] if one.get("type") != "null"))
    if "enum" in part:
        return " | ".join(orjson.dumps(one).decode() for one in part["enum"])
    kind = part.get("type", "object" if "$ref" in part else "any")
    if kind == "array":
        return f"{_type(part.get('items', {}))}[]"
    return " or ".join(one for one in kind if one != "null") if isinstance(kind, list) else str(kind)
