"""What a `_target_` takes, read from its source with `ast`: nothing is imported, so a wrong key costs milliseconds.

A class is described by its `__init__`, or the nearest one among its first-party bases; a function by its own signature.
An `__init__` that passes `**others` on to its base takes what that one takes too, but for what it passes on itself.
Only keyword-only parameters of first-party code are keys of a config; what is positional is filled in by the program.
"""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from pathlib import Path
from types import ModuleType

from errors import RequestError
from launcher.config.annotations import assigned, class_names
from launcher.help.words import listing, nearest
from launcher.lab import FIRST_PARTY, READABLE, THIRD_PARTY, Lab

Definition = ast.ClassDef | ast.FunctionDef


@dataclass(frozen=True)
class Param:
    annotation: ast.expr | None
    required: bool


@dataclass(frozen=True, eq=False)
class Target:
    """A class or function that a config may name, and the keys it takes. There is one of each: see `_defined`."""

    name: str
    tree: ast.Module
    node: Definition
    params: dict[str, Param] = field(default_factory=dict)
    aliases: dict[str, ast.expr] = field(default_factory=dict)  # names that annotations use: Precision = Literal[...]


def read_target(name: object, lab: Lab, *, key: str) -> Target:
    """The definition that `name` stands for, as written under `key` of a config.

    Raises:
        RequestError: it is not on the allowlist, or there is no such definition.
    """
    if not isinstance(name, str) or name.count(".") < 1:
        raise RequestError(f"{key}={name}: expected package.module.Name, a class or function of this program.")
    if name in THIRD_PARTY:
        return _of_a_library(name, lab)
    if (target := _defined(name, lab)) is not None:
        return target
    module, _, attribute = name.rpartition(".")
    file = module_file(module, lab) if module.split(".")[0] in FIRST_PARTY else None
    if file is None:
        raise RequestError(_refusal(name, key))
    names = [d.name for d in parse(file).body if isinstance(d, Definition) and not d.name.startswith("_")]
    close = nearest(attribute, names)
    hint = f" Did you mean {module}.{close}?" if close else ""
    raise RequestError(f"{key}={name}: {module} defines no {attribute}; it defines: {listing(names)}.{hint}")


@cache
def _defined(name: str, lab: Lab) -> Target | None:
    """First-party code that a config may name; kept, since a key is looked up through its targets again and again."""
    module, _, attribute = name.rpartition(".")
    file = module_file(module, lab) if module.split(".")[0] in FIRST_PARTY else None
    if file is None:
        return None
    tree = parse(file)
    found = _definition(tree, attribute)
    return None if found is None else _target(name, tree, found, lab)


@cache
def _of_a_library(name: str, lab: Lab) -> Target:
    tree, node = _third_party(name)
    init = _init(node)
    params = {} if init is None else _function_params(init, keyword_only=False)
    params |= {extra: Param(None, False) for extra in THIRD_PARTY[name]}
    return Target(name, tree, node, params, _aliases(tree, node, lab))


def _target(name: str, tree: ast.Module, node: Definition, lab: Lab) -> Target:
    return Target(name, tree, node, _params(tree, node, lab), _aliases(tree, node, lab))


def module_target(module: ModuleType) -> Target:
    """A module as what stands beside its records."""
    tree = parse(Path(str(module.__file__)))
    first = next(node for node in tree.body if isinstance(node, Definition))
    return Target(module.__name__, tree, first, aliases=assigned(tree))


@cache
def read_record(name: str, beside: Target, lab: Lab) -> Target | None:
    """The dataclass or TypedDict that `name` stands for in the module of `beside`; None if there is none."""
    found = _lookup(beside.tree, name, lab)
    if found is None or not isinstance(found[1], ast.ClassDef) or not _is_record(found[0], found[1], lab):
        return None
    return _target(name, *found, lab)


def record_of(section: str, modules: Iterable[Target], lab: Lab) -> Target | None:
    """The class that types a section without `_target_`, called as the section: `Evaluate` beside one of `modules`;
    of a section below it, what the field's annotation names.
    """
    parent, _, leaf = section.rpartition(".")
    if not parent:
        found = (read_record(section.title(), module, lab) for module in modules)
    elif (owner := record_of(parent, modules, lab)) is not None and leaf in owner.params:
        names = class_names(owner.params[leaf].annotation, owner.aliases)
        found = (read_record(name, owner, lab) for name in names)
    else:
        return None
    return next((record for record in found if record is not None), None)


@cache
def class_attribute(target: Target, attribute: str, lab: Lab) -> object:
    """A literal set in the body of the class or of its first-party bases (`needs = ("tokens",)`), or None."""
    for _, node in _lineage(target.tree, target.node, lab):
        for statement in node.body:
            names = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
            if any(isinstance(name, ast.Name) and name.id == attribute for name in names):
                value = getattr(statement, "value", None)
                return None if value is None else ast.literal_eval(value)
    return None


def module_constant(module: str, name: str, lab: Lab) -> object:
    """A literal that a first-party module gives a name at its top level, or None."""
    file = module_file(module, lab)
    value = None if file is None else assigned(parse(file)).get(name)
    return None if value is None else ast.literal_eval(value)


def module_file(module: str, lab: Lab) -> Path | None:
    """The file of a first-party module, if it exists under the root."""
    path = lab.root.joinpath(*module.split("."))
    candidates = (path.with_suffix(".py"), path / "__init__.py")
    return next(
        (file for file in candidates if all(p.isidentifier() for p in module.split(".")) and file.is_file()), None
    )


@cache
def parse(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"), filename=str(file))


def _refusal(name: str, key: str) -> str:
    return (
        f"{key}={name} is refused: a config may only build what this program defines.\n"
        f"Expected a class or function in one of the packages {listing(FIRST_PARTY)},\n"
        f"or one of {listing(THIRD_PARTY)}.\n"
        "To use another, write a small named function in one of those packages and give its path."
    )


def _definition(tree: ast.Module, name: str) -> Definition | None:
    return next((d for d in tree.body if isinstance(d, Definition) and d.name == name), None)


def _params(tree: ast.Module, node: Definition, lab: Lab) -> dict[str, Param]:
    if isinstance(node, ast.FunctionDef):
        return _function_params(node, keyword_only=True)
    params: dict[str, Param] = {}
    passed: set[str] = set()  # on to a base by a class itself: no keys
    is_record = _is_record(tree, node, lab)
    for _, owner in _lineage(tree, node, lab):
        init = _init(owner)
        own: dict[str, Param] = {}
        if init is not None:
            own = _function_params(init, keyword_only=True)
        elif is_record:
            own = _fields(owner)
        params |= {name: param for name, param in own.items() if name not in params.keys() | passed}
        if init is not None:
            if init.args.kwarg is None:
                break
            passed |= _passed_on(init)
    return params


def _passed_on(init: ast.FunctionDef) -> set[str]:
    """The keywords of `super().__init__(...)` that are written out."""
    calls = [node for node in ast.walk(init) if isinstance(node, ast.Call)]
    to_base = [call for call in calls if ast.unparse(call.func) == "super().__init__"]
    return {keyword.arg for call in to_base for keyword in call.keywords if keyword.arg is not None}


def _aliases(tree: ast.Module, node: Definition, lab: Lab) -> dict[str, ast.expr]:
    """What the module assigns to names, and below it the modules of the bases that parameters may come from."""
    aliases: dict[str, ast.expr] = {}
    for module in [tree, *(base for base, _ in _lineage(tree, node, lab))]:
        aliases = assigned(module) | aliases
    return aliases


def _lineage(tree: ast.Module, node: Definition, lab: Lab) -> Iterator[tuple[ast.Module, ast.ClassDef]]:
    """The class, then its first-party bases, left to right and depth first."""
    if not isinstance(node, ast.ClassDef):
        return
    yield tree, node
    for base in node.bases:
        base = base.value if isinstance(base, ast.Subscript) else base
        if isinstance(base, ast.Name) and (found := _lookup(tree, base.id, lab)):
            yield from _lineage(*found, lab)


def _lookup(tree: ast.Module, name: str, lab: Lab) -> tuple[ast.Module, Definition] | None:
    """A name as a module sees it: defined there, or imported from another first-party module."""
    if node := _definition(tree, name):
        return tree, node
    module, original = _imported(tree, name)
    if module is None or module.split(".")[0] not in READABLE:
        return None
    file = module_file(module, lab)
    return _lookup(parse(file), original, lab) if file else None


def _imported(tree: ast.Module, name: str) -> tuple[str | None, str]:
    for statement in tree.body:
        if isinstance(statement, ast.ImportFrom):
            for alias in statement.names:
                if (alias.asname or alias.name) == name:
                    return statement.module, alias.name
    return None, name


def _third_party(name: str) -> tuple[ast.Module, Definition]:
    """Follows re-exports (`from package.module import Name` in an __init__) to the file that defines `name`."""
    module, _, attribute = name.rpartition(".")
    first, *rest = module.split(".")
    spec = PathFinder.find_spec(first)
    if spec is None or not spec.submodule_search_locations:
        raise RequestError(f"{name} is not installed: pip install {first}")
    path = Path(spec.submodule_search_locations[0]).joinpath(*rest)
    tree = parse(path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py")
    if node := _definition(tree, attribute):
        return tree, node
    source, original = _imported(tree, attribute)
    if source is None:
        raise RequestError(f"{name} is not there in the installed {first}")
    return _third_party(f"{source}.{original}")


def _init(node: Definition) -> ast.FunctionDef | None:
    return next((d for d in node.body if isinstance(d, ast.FunctionDef) and d.name == "__init__"), None)


def _function_params(node: ast.FunctionDef, *, keyword_only: bool) -> dict[str, Param]:
    pairs = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    params = {arg.arg: Param(arg.annotation, default is None) for arg, default in pairs}
    if not keyword_only:
        positional = node.args.args[1:]
        first_default = len(positional) - len(node.args.defaults)
        params |= {arg.arg: Param(arg.annotation, i < first_default) for i, arg in enumerate(positional)}
    return params


def _is_record(tree: ast.Module, node: ast.ClassDef, lab: Lab) -> bool:
    """A dataclass, a TypedDict, or made from one: its fields are its keys."""
    owners = [owner for _, owner in _lineage(tree, node, lab)]
    decorators = [ast.unparse(decorator) for owner in owners for decorator in owner.decorator_list]
    bases = [ast.unparse(base) for owner in owners for base in owner.bases]
    return "TypedDict" in bases or any("dataclass" in decorator for decorator in decorators)


def _fields(node: ast.ClassDef) -> dict[str, Param]:
    fields = [s for s in node.body if isinstance(s, ast.AnnAssign) and isinstance(s.target, ast.Name)]
    return {s.target.id: Param(s.annotation, s.value is None) for s in fields}  # type: ignore[union-attr]
