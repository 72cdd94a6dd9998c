"""Does a value from a config fit a type annotation? The annotation is read as `ast`, never evaluated."""

import ast
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import bounds
from bounds import Bound, Form

Aliases = Mapping[str, ast.expr]
LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "set", "frozenset", "tuple"}
DICTS = {"dict", "Dict", "Mapping"}
BOUNDS: dict[str, Callable[..., Bound | Form]] = {
    f.__name__: f for f in (bounds.at_least, bounds.above, bounds.at_most, bounds.below, bounds.between, bounds.written)
}
SURROGATE = re.compile(r"[\ud800-\udfff]")  # half a character: nothing can write it down
LARGEST = 2**63 - 1  # of a whole number, either way: what torch and numpy hold
WORDS = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "Path": "a path"}
WORDS |= dict.fromkeys(LISTS, "a list") | dict.fromkeys(DICTS, "a dictionary")
PLURALS = {"int": "whole numbers", "float": "numbers", "bool": "true or false", "str": "texts", "Path": "paths"}


def assigned(tree: ast.Module) -> dict[str, ast.expr]:
    """What a module assigns to plain names."""
    plain = [s for s in tree.body if isinstance(s, ast.Assign) and isinstance(s.targets[0], ast.Name)]
    return {s.targets[0].id: s.value for s in plain}  # type: ignore[attr-defined]


COMMON: Aliases = assigned(ast.parse(Path(bounds.__file__).read_text(encoding="utf-8")))  # PositiveInt, Share, ...


def fits(value: object, annotation: ast.expr | None, aliases: Aliases) -> bool:
    """True also where the annotation is a class of ours: that value is built from a `_target_`, checked elsewhere."""
    annotation = _plain(annotation, aliases)
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id="int"):
            return _is_number(value, int)
        case ast.Name(id="float"):
            return _is_number(value, int | float)
        case ast.Name(id="str" | "Path"):
            return isinstance(value, str) and value != "" and not SURROGATE.search(value)
        case ast.Name(id=name) if name in LISTS:
            return isinstance(value, list)
        case ast.Name(id=name) if name in DICTS:
            return isinstance(value, dict)
        case ast.BinOp(op=ast.BitOr()) | ast.Subscript(value=ast.Name(id="Union" | "Optional")):
            return any(fits(value, part, aliases) for part in _members(annotation))
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *marks])):
            if value == "" and any(_called(mark) == "MayBeEmpty" for mark in marks):
                return True
            return fits(value, inner, aliases) and all(bound.holds(value) for bound in _bounds(marks))  # type: ignore[arg-type]
        case ast.Subscript(value=ast.Name(id="Literal")):
            return any(value == choice and type(value) is type(choice) for choice in choices(annotation, aliases))
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=elements)) if not _is_open(elements):
            if not isinstance(value, list) or len(value) != len(elements):
                return False
            return all(fits(item, element, aliases) for item, element in zip(value, elements, strict=True))
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in LISTS:
            inner = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            return isinstance(value, list) and all(fits(item, inner, aliases) for item in value)
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=[_, inner])) if name in DICTS:
            return isinstance(value, dict) and all(fits(item, inner, aliases) for item in value.values())
    return True


def choices(annotation: ast.expr | None, aliases: Aliases) -> list[object]:
    """All values that a Literal allows, also inside a union; empty if there is no Literal."""
    annotation = _plain(annotation, aliases)
    if isinstance(annotation, ast.Subscript) and _name(annotation.value) == "Literal":
        inner = annotation.slice
        return [ast.literal_eval(item) for item in (inner.elts if isinstance(inner, ast.Tuple) else [inner])]
    return [choice for part in _members(annotation) for choice in choices(part, aliases)]


def describe(annotation: ast.expr | None, aliases: Aliases, *, words: Mapping[str, str] = WORDS) -> str:
    """The type in a user's words: "a whole number (1 or more) or null", "one of: ddp, fsdp".

    Args:
        words: for the plain types; those of PLURALS say what a list holds.
    """
    annotation = _plain(annotation, aliases)
    match annotation:
        case ast.Subscript(value=ast.Name(id="Literal")):
            return "one of: " + ", ".join(str(choice) for choice in choices(annotation, aliases))
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *_])):
            within = limits(annotation, aliases)
            return describe(inner, aliases, words=words) + (f" ({within})" if within else "")
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=elements)) if not _is_open(elements):
            return f"a list of {len(elements)} {describe(elements[0], aliases, words=PLURALS)}"
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in LISTS:
            inner = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            return f"a list of {describe(inner, aliases, words=PLURALS)}"
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=[_, inner])) if name in DICTS:
            return f"a dictionary of {describe(inner, aliases, words=PLURALS)}"
        case ast.Constant(value=None):
            return "null"
    if parts := _members(annotation):
        return " or ".join(describe(part, aliases, words=words) for part in parts)
    name = ast.unparse(annotation) if annotation is not None else "anything"
    return words.get(name, name)


def limits(annotation: ast.expr | None, aliases: Aliases) -> str:
    """The bounds of the number that an annotation allows: "0 or more, below 1"; empty where there are none."""
    annotation = _plain(annotation, aliases)
    match annotation:
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *marks])):
            return ", ".join(bound.words for bound in _bounds(marks))
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in LISTS:
            inner = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            within = limits(inner, aliases)
            return f"each {within}" if within else ""
    return next((found for part in _members(annotation) if (found := limits(part, aliases))), "")


def allows_text(annotation: ast.expr | None, aliases: Aliases) -> bool:
    return fits("text", annotation, aliases) and annotation is not None


def is_free_dict(annotation: ast.expr | None, aliases: Aliases) -> bool:
    """A parameter whose keys are the user's own: dict[str, float]."""
    annotation = _plain(annotation, aliases)
    if isinstance(annotation, ast.Subscript):
        return _name(annotation.value) in DICTS or any(is_free_dict(p, aliases) for p in _members(annotation))
    return _name(annotation) in DICTS or any(is_free_dict(part, aliases) for part in _members(annotation))


def class_names(annotation: ast.expr | None, aliases: Aliases) -> list[str]:
    """Names that an annotation consists of, alone or in a union: those of classes among them."""
    annotation = _plain(annotation, aliases)
    if (name := _name(annotation)) is not None:
        return [name]
    return [name for part in _members(annotation) for name in class_names(part, aliases)]


def _is_number(value: object, kind: type | object) -> bool:
    """Finite, and no `true`, which Python takes for 1."""
    if isinstance(value, bool) or not isinstance(value, kind):  # type: ignore[arg-type]
        return False
    return abs(value) <= LARGEST if isinstance(value, int) else math.isfinite(value)  # type: ignore[arg-type]


def _bounds(marks: list[ast.expr]) -> list[Bound | Form]:
    """What stands behind the type in Annotated[int, at_least(1)], as far as it is ours."""
    calls = [mark for mark in marks if isinstance(mark, ast.Call) and _called(mark) in BOUNDS]
    return [BOUNDS[_called(call)](*map(ast.literal_eval, call.args)) for call in calls]


def _called(node: ast.expr) -> str:
    return _name(node.func) or "" if isinstance(node, ast.Call) else ""


def _members(annotation: ast.expr | None) -> list[ast.expr]:
    """The parts of a union; empty for anything else."""
    match annotation:
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            return [*(_members(left) or [left]), *(_members(right) or [right])]
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return [inner, ast.Constant(None)]
        case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=elements)):
            return list(elements)
    return []


def _plain(annotation: ast.expr | None, aliases: Aliases) -> ast.expr | None:
    """Without quotes, module prefixes (typing.Literal), aliases."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    if isinstance(annotation, ast.Name):
        return aliases.get(annotation.id) or COMMON.get(annotation.id) or annotation
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Attribute):
        return ast.Subscript(value=ast.Name(annotation.value.attr), slice=annotation.slice)
    return annotation


def _name(node: ast.expr | None) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _is_open(elements: list[ast.expr]) -> bool:
    """tuple[int, ...]"""
    return len(elements) == 2 and isinstance(elements[1], ast.Constant) and elements[1].value is ...
