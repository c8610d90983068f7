"""The page that shows the description of the API, without script and anything of others."""

from functools import cache
from typing import Any

from fastapi import FastAPI, Response
from jinja2 import Environment, PackageLoader, StrictUndefined


def add_docs(app: FastAPI) -> None:
    """Open the doors to the page; it shows all that the others offer."""

    @cache
    def page() -> str:
        return render(app.openapi())

    @app.get("/api/docs", include_in_schema=False)
    def docs() -> Response:
        return Response(page(), media_type="text/html; charset=utf-8")

    @app.get("/api/docs.css", include_in_schema=False)
    def style() -> Response:
        return Response(_templates().get_template("api.css").render(), media_type="text/css")


def render(description: dict[str, Any]) -> str:
    """The page of a description in the form of OpenAPI."""
    parts = description["components"]["schemas"]
    doors = [
        {"method": method.upper(), "path": path.removeprefix("/"), **door,
         "parameters": _parameters(door), "body": _body(door), "answers": list(_answers(door))}
        for path, methods in description["paths"].items()
        for method, door in methods.items()
    ]  # fmt: skip
    return (
        _templates()
        .get_template("api.html")
        .render(
            info=description["info"],
            about=description["info"]["description"].split("\n\n"),
            groups=[
                (tag, [door for door in doors if tag["name"] in door.get("tags", ())])
                for tag in description["tags"]
            ],
            parts={name: _part(part) for name, part in sorted(parts.items())},
        )
    )


@cache
def _templates() -> Environment:
    return Environment(
        loader=PackageLoader("fluoroscope.studio"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _parameters(door: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": one["name"],
            "where": one["in"] if one.get("required") else f"{one['in']}, may be left out",
            "words": _words(one["schema"]),
            "description": one.get("description", ""),
        }
        for one in door.get("parameters", ())
    ]


def _body(door: dict[str, Any]) -> list[str]:
    """The shapes of which its body may be one, or what it is otherwise."""
    found = []
    for kind, content in door.get("requestBody", {}).get("content", {}).items():
        schema = content.get("schema", {})
        each = schema.get("oneOf", [schema])
        found += [_name(one) if "$ref" in one else kind for one in each]
    return found


def _answers(door: dict[str, Any]) -> Any:
    """Status, words and form of each answer but for refusals, which are all alike."""
    for status, answer in door["responses"].items():
        for kind, content in answer.get("content", {"": {}}).items():
            if "$ref" not in answer and kind != "application/problem+json":
                yield status, answer["description"], _words(content.get("schema", {})) or kind


def _part(part: dict[str, Any]) -> dict[str, Any]:
    needed = part.get("required", [])
    return {
        "description": part.get("description", ""),
        "fields": [
            {"name": name, "words": _words(field), "needed": name in needed,
             "usual": field.get("default"), "description": field.get("description", "")}
            for name, field in part.get("properties", {}).items()
        ],
    }  # fmt: skip


def _words(schema: dict[str, Any]) -> str:
    """What a value may be, in words."""
    if "$ref" in schema:
        return _name(schema)
    for several in ("anyOf", "oneOf"):
        if several in schema:
            return " or ".join(dict.fromkeys(_words(one) for one in schema[several]))
    if "const" in schema:
        return f"{schema['const']!r}"
    if "enum" in schema:
        return " or ".join(repr(one) for one in schema["enum"])
    kind = schema.get("type", "")
    if kind == "array":
        of = schema.get("items", {})
        return f"list of {_words(of)}" if of else "list"
    words = {"integer": "whole number", "boolean": "true or false", "string": "text"}
    return " ".join([words.get(kind, kind), *_bounds(schema)]).strip()


def _bounds(schema: dict[str, Any]) -> list[str]:
    if schema.get("format") == "binary":
        return ["of bytes"]
    known = {
        "minimum": "from {:.15g}",
        "exclusiveMinimum": "above {:.15g}",
        "maximum": "to {:.15g}",
        "exclusiveMaximum": "below {:.15g}",
        "maxLength": "of at most {} characters",
    }
    found = {key: schema[key] for key in known if schema.get(key, 2**53) < 2**53}
    return [known[key].format(bound) for key, bound in found.items()]


def _name(schema: dict[str, Any]) -> str:
    return str(schema["$ref"]).rpartition("/")[2]
