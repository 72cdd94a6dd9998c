"""JSON schemas that a text is to follow: read, checked, and what in them has no end.

Written by llguidance's grammar without blanks between tokens of JSON: `{"name":"Ann","age":7}`.
"""

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from errors import RequestError
from strict_json import value_of

Schema = dict[str, Any]

# what llguidance 1.9 acts on, and what changes no text; others it refuses by name or, worse, passes over
ACTED_ON = {
    *("$ref", "$defs", "definitions", "$id", "$schema", "$anchor", "type", "enum", "const", "anyOf", "oneOf", "allOf"),
    *("properties", "required", "additionalProperties", "patternProperties", "minProperties", "maxProperties"),
    *("items", "prefixItems", "additionalItems", "minItems", "maxItems", "minLength", "maxLength", "pattern", "format"),
    *("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"),
}
WORDS = {"title", "description", "default", "examples", "$comment", "deprecated", "readOnly", "writeOnly"}
REFUSED_ANYWAY = {  # by llguidance, in its own words
    *("not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames"),
    *("dependentRequired", "dependentSchemas", "dependencies", "unevaluatedProperties", "unevaluatedItems"),
}
ENDING_FORMATS = {"date", "uuid", "ipv4", "ipv6"}
TYPES = ("string", "integer", "number", "array", "object", "boolean", "null")


def read_schema(source: str) -> Schema:
    """The schema in a file, or in `source` itself where that begins with a brace.

    Raises:
        RequestError: no such file, no JSON, or no schema that can be followed.
    """
    text = source.strip()
    where = "schema" if text.startswith("{") else f"schema={source}"
    try:
        data = (
            text.encode("utf-8")
            if text.startswith("{")
            else Path(source).expanduser().read_bytes().removeprefix(codecs.BOM_UTF8)
        )
        found = value_of(data)
    except OSError as error:
        raise RequestError(
            f"schema={source}: {error.strerror}. Expected a file with a JSON schema, or the schema itself.\n"
            'Type schema=FILE, or schema=\'{"type":"object", ...}\''
        ) from None
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise RequestError(f"{where} is not JSON: {reason}.") from None
    return checked(found, where)


def checked(found: Any, where: str) -> Schema:
    """Raises RequestError where it is no object, or holds keywords that would be passed over."""
    if not isinstance(found, dict):
        raise RequestError(f"{where}: expected a JSON schema, an object such as {{'type': 'object'}}; found {found!r}.")
    for path, node in nodes(found, "$"):
        if not isinstance(node, dict):
            raise RequestError(f"{where}: {path} is {node!r:.80}; expected a JSON schema, an object, or true or false.")
        for name in node:
            if name not in ACTED_ON | WORDS | REFUSED_ANYWAY:
                raise RequestError(
                    f"{where}: the keyword {name!r} at {path} is not supported: it would not be followed.\n"
                    f"Supported: {', '.join(sorted(ACTED_ON))}."
                )
        given = node.get("type", [])
        for kind in given if isinstance(given, list) else [given]:
            if kind not in TYPES:
                raise RequestError(f"{where}: {path}.type is {kind!r:.80}; expected one of {', '.join(TYPES)}.")
    return found


def nodes(node: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Everything that stands where a schema is to stand, with its place; but for true, false and lists of them."""
    if isinstance(node, bool | list):
        return
    yield path, node
    if not isinstance(node, dict):
        return
    for name in ("properties", "patternProperties", "$defs", "definitions"):
        for key, inner in (node.get(name) or {}).items() if isinstance(node.get(name), dict) else ():
            yield from nodes(inner, f"{path}.{key}")
    for name in ("anyOf", "oneOf", "allOf", "prefixItems"):
        for i, inner in enumerate(node.get(name) or []) if isinstance(node.get(name), list) else ():
            yield from nodes(inner, f"{path}.{name}[{i}]")
    for name in ("items", "additionalItems", "additionalProperties"):
        yield from nodes(node.get(name, True), f"{path}.{name}")


def of_response_format(response_format: Schema) -> Schema | None:
    """The schema that a request to a served API asks for by `response_format`; None for plain text.

    {"type": "text"}, {"type": "json_object"} (any object), {"type": "json_schema", "json_schema": {"schema": {...}}}.

    Raises:
        RequestError: it is none of these, or its schema cannot be followed.
    """
    kind = response_format.get("type") if isinstance(response_format, dict) else None
    if kind == "text":
        return None
    if kind == "json_object":
        return {"type": "object"}
    inner = response_format.get("json_schema") if kind == "json_schema" else None
    if not isinstance(inner, dict) or "schema" not in inner:
        raise RequestError(
            f"response_format={response_format!r}: expected {{'type': 'text'}}, {{'type': 'json_object'}}, or "
            "{'type': 'json_schema', 'json_schema': {'name': ..., 'schema': {...}}}."
        )
    return checked(inner["schema"], "response_format.json_schema.schema")


# ---- what has no end ------------------------------------------------------------------------------------------------


def endless(schema: Schema) -> list[str]:
    """Places of a schema at which a text may go on for ever, in words: a model may not come to an end there."""
    return list(dict.fromkeys(_endless(schema, "$", schema, ())))


def _endless(node: Any, path: str, root: Schema, seen: tuple[str, ...]) -> Iterator[str]:
    if not isinstance(node, dict):
        if node is not False:
            yield f"{path} may be anything"
        return
    if "enum" in node or "const" in node:
        return
    if (ref := node.get("$ref")) is not None:
        if ref in seen:
            yield f"{path} may hold itself again and again ({ref})"
            return
        yield from _endless(pointed(root, ref), path, root, (*seen, ref))
        return
    whole = {**node, **{k: v for part in node.get("allOf", []) if isinstance(part, dict) for k, v in part.items()}}
    if choices := [*whole.get("anyOf", []), *whole.get("oneOf", [])]:
        for i, choice in enumerate(choices):
            inner = {**whole, **choice} if isinstance(choice, dict) else choice
            kept = {k: v for k, v in inner.items() if k not in ("anyOf", "oneOf", "allOf") or k in choice}
            yield from _endless(kept, f"{path}.{i}", root, seen)
        return
    types = whole.get("type")
    if types is None and "properties" not in whole and "items" not in whole:
        yield f"{path} may be anything"
        return
    types = types or ("object" if "properties" in whole else "array")
    for kind in [types] if isinstance(types, str) else types:
        if kind in OF_TYPE:
            yield from OF_TYPE[kind](whole, path, root, seen)


def pointed(root: Schema, ref: str) -> Any:
    """What a reference within the schema points to; {} where that cannot be seen here."""
    found: Any = root
    for name in str(ref).removeprefix("#").strip("/").split("/") if str(ref).startswith("#") else ["?"]:
        if name:
            found = found.get(name.replace("~1", "/").replace("~0", "~"), {}) if isinstance(found, dict) else {}
    return found


def _string(node: Schema, path: str, root: Schema, seen: tuple[str, ...]) -> Iterator[str]:
    ends = "maxLength" in node or node.get("format") in ENDING_FORMATS or regex_ends(node.get("pattern"), anchored=True)
    if not ends:
        yield f"{path} is a string without maxLength"


def _integer(node: Schema, path: str, root: Schema, seen: tuple[str, ...]) -> Iterator[str]:
    if not ({"minimum", "exclusiveMinimum"} & set(node) and {"maximum", "exclusiveMaximum"} & set(node)):
        yield f"{path} is an integer without minimum and maximum"


def _number(node: Schema, path: str, root: Schema, seen: tuple[str, ...]) -> Iterator[str]:
    yield f"{path} is a number, of any digits behind the point"


def _array(node: Schema, path: str, root: Schema, seen: tuple[str, ...]) -> Iterator[str]:
    first = node.get("prefixItems", [])
    for i, inner in enumerate(first):
        yield from _endless(inner, f"{path}[{i}]", root, seen)
    if node.get("maxItems", None) is not None and node["maxItems"] <= len(first):
        return
    if node.get("items") is not False or not first:
        if "maxItems" not in node:
            yield f"{path} is an array without maxItems"
        yield from _endless(node.get("items", {}), f"{path}[]", root, seen)


def _object(node: Schema, path: str, root: Schema, seen: tuple[str, ...]) -> Iterator[str]:
    if node.get("additionalProperties", True) is not False:
        yield f"{path} is an object without additionalProperties: false"
    if node.get("patternProperties"):
        yield f"{path} is an object with patternProperties"
    for name, inner in node.get("properties", {}).items():
        yield from _endless(inner, f"{path}.{name}", root, seen)


OF_TYPE = {"string": _string, "integer": _integer, "number": _number, "array": _array, "object": _object}

QUANTIFIED = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]|(?P<endless>[*+]|\{\d*,\})", re.DOTALL)


def regex_ends(pattern: str | None, *, anchored: bool = False) -> bool:
    """Whether every text that matches is of bounded length. `anchored`: it must say by ^ and $ where it begins and
    ends, as a schema's pattern, which may match anywhere in a string."""
    if pattern is None or (anchored and not (pattern.startswith("^") and pattern.endswith("$"))):
        return False
    return all(found["endless"] is None for found in QUANTIFIED.finditer(pattern))


def as_text(schema: Schema) -> str:
    return json.dumps(schema, ensure_ascii=False)
