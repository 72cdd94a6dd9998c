"""Does a value from a config fit a type annotation? The annotation is read as `ast`, never evaluated."""

import ast
from collections.abc import Mapping

Aliases = Mapping[str, ast.expr]
SCALARS: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "Path": (str,)}
LISTS = {"list", "List", "Sequence", "Iterable", "Collection", "set", "frozenset"}
DICTS = {"dict", "Dict", "Mapping"}


def fits(value: object, annotation: ast.expr | None, aliases: Aliases) -> bool:
    """True also where the annotation is a class of ours: that value is built from a `_target_`, checked elsewhere."""
    annotation = _plain(annotation, aliases)
    match annotation:
        case ast.Constant(value=None):
            return value is None
        case ast.Name(id="bool"):
            return isinstance(value, bool)
        case ast.Name(id=name) if name in SCALARS:
            return isinstance(value, SCALARS[name]) and not isinstance(value, bool)
        case ast.Name(id=name) if name in LISTS | {"tuple"}:
            return isinstance(value, list)
        case ast.Name(id=name) if name in DICTS:
            return isinstance(value, dict)
        case ast.BinOp(op=ast.BitOr()) | ast.Subscript(value=ast.Name(id="Union" | "Optional")):
            return any(fits(value, part, aliases) for part in _members(annotation))
        case ast.Subscript(value=ast.Name(id="Literal")):
            return any(value == choice and type(value) is type(choice) for choice in choices(annotation, aliases))
        case ast.Subscript(value=ast.Name(id="tuple"), slice=ast.Tuple(elts=elements)) if not _is_open(elements):
            if not isinstance(value, list) or len(value) != len(elements):
                return False
            return all(fits(item, element, aliases) for item, element in zip(value, elements, strict=True))
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in LISTS | {"tuple"}:
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


def describe(annotation: ast.expr | None, aliases: Aliases) -> str:
    """The type in a user's words: "an integer or null", "one of: ddp, fsdp"."""
    annotation = _plain(annotation, aliases)
    if isinstance(annotation, ast.Subscript) and _name(annotation.value) == "Literal":
        return "one of: " + ", ".join(str(choice) for choice in choices(annotation, aliases))
    parts = _members(annotation)
    if parts:
        return " or ".join(describe(part, aliases) for part in parts)
    if isinstance(annotation, ast.Constant) and annotation.value is None:
        return "null"
    name = ast.unparse(annotation) if annotation is not None else "anything"
    words = {"int": "a whole number", "float": "a number", "bool": "true or false", "str": "text", "Path": "a path"}
    return words.get(name, name)


def allows_text(annotation: ast.expr | None, aliases: Aliases) -> bool:
    return fits("", annotation, aliases) and annotation is not None


def is_free_dict(annotation: ast.expr | None, aliases: Aliases) -> bool:
    """A parameter whose keys are the user's own: dict[str, float]."""
    annotation = _plain(annotation, aliases)
    if isinstance(annotation, ast.Subscript):
        return _name(annotation.value) in DICTS or any(is_free_dict(p, aliases) for p in _members(annotation))
    return _name(annotation) in DICTS or any(is_free_dict(part, aliases) for part in _members(annotation))


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
    if isinstance(annotation, ast.Name) and annotation.id in aliases:
        return aliases[annotation.id]
    if isinstance(annotation, ast.Subscript) and isinstance(annotation.value, ast.Attribute):
        return ast.Subscript(value=ast.Name(annotation.value.attr), slice=annotation.slice)
    return annotation


def _name(node: ast.expr | None) -> str | None:
    return node.id if isinstance(node, ast.Name) else None


def _is_open(elements: list[ast.expr]) -> bool:
    """tuple[int, ...]"""
    return len(elements) == 2 and isinstance(elements[1], ast.Constant) and elements[1].value is ...
