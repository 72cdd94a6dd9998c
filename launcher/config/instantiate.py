"""From a section of the config to the object it describes. Used by tasks; classes never see a config.

`build(cfg.model, vocab_size=256)` imports `cfg.model._target_` and calls it with the section's keys and what is
injected, all of them plain Python values. A section inside a section that has a `_target_` is built first.
"""

import importlib
import inspect
from collections.abc import Mapping
from functools import partial
from typing import Any

from omegaconf import DictConfig, OmegaConf

from errors import RequestError
from launcher.help.words import listing
from launcher.lab import FIRST_PARTY, THIRD_PARTY


def build(section: DictConfig | Mapping[str, Any] | None, /, **injected: Any) -> Any:
    """The object of a section, or a `functools.partial` of it where the section says `_partial_: true`; None for None.

    Raises:
        RequestError: a foreign `_target_`, a key that is both in the section and injected, a key too many or missing.
    """
    if section is None:
        return None
    tree = OmegaConf.to_container(section, resolve=True) if isinstance(section, DictConfig) else dict(section)
    return _build(tree, injected)  # type: ignore[arg-type]


def resolve_target(name: object) -> Any:
    """Imports a class or function, and makes sure that it is the one its name says, defined where it says.

    Raises:
        RequestError: not first-party, not on the list of exceptions, or an alias of something defined elsewhere.
    """
    module_name, _, attribute = str(name).rpartition(".")
    if name not in THIRD_PARTY and module_name.split(".")[0] not in FIRST_PARTY:
        raise RequestError(f"_target_={name} is refused: it is not defined in one of {listing(FIRST_PARTY)}.")
    try:
        found = getattr(importlib.import_module(module_name), attribute)
    except ModuleNotFoundError as error:
        if error.name is None or not module_name.startswith(error.name):
            raise
        raise RequestError(f"_target_={name}: there is no module {error.name}.") from None
    except AttributeError:
        raise RequestError(f"_target_={name}: {module_name} defines no {attribute}.") from None
    identity = f"{getattr(found, '__module__', None)}.{getattr(found, '__qualname__', None)}"
    if name not in THIRD_PARTY and identity != name:
        raise RequestError(f"_target_={name} is refused: it is another name for {identity}.")
    return found


def _build(tree: dict[str, Any], injected: dict[str, Any]) -> Any:
    name = tree.get("_target_")
    target = resolve_target(name)
    keys = {key: _value(value) for key, value in tree.items() if key not in ("_target_", "_partial_")}
    both = sorted(keys.keys() & injected)
    if both:
        raise RequestError(f"{name}: {listing(both)} is filled in by the program; take it out of the config.")
    arguments = keys | injected
    _check_arguments(target, str(name), arguments, is_partial=bool(tree.get("_partial_")))
    return partial(target, **arguments) if tree.get("_partial_") else target(**arguments)


def _value(value: Any) -> Any:
    """What is to be built is. Names in a dictionary are texts, also those that YAML and Hydra read as numbers."""
    if not isinstance(value, dict):
        return value
    if "_target_" in value:
        return _build(value, {})
    return {name if isinstance(name, str) else str(name).lower(): inner for name, inner in value.items()}


def _check_arguments(target: Any, name: str, arguments: dict[str, Any], *, is_partial: bool) -> None:
    signature = signature_of(target)
    try:
        (signature.bind_partial if is_partial else signature.bind)(**arguments)
    except TypeError as error:
        required = [p.name for p in signature.parameters.values() if p.default is p.empty and p.kind is p.KEYWORD_ONLY]
        missing = [] if is_partial else [key for key in required if key not in arguments]
        words = f"it needs {listing(missing)}, keys of its YAML" if missing else str(error)
        raise RequestError(
            f"{name} cannot be built: {words}.\nIt was given: {listing(sorted(arguments)) or 'nothing'}."
        ) from None


def signature_of(target: Any) -> inspect.Signature:
    """As of `inspect`; of a class of ours that passes `**others` on to its base, with what that one takes."""
    signature = inspect.signature(target)
    if not isinstance(target, type) or target.__module__.split(".")[0] not in FIRST_PARTY:
        return signature
    taken: dict[str, inspect.Parameter] = {}
    for owner in target.__mro__:
        if "__init__" not in vars(owner):
            continue
        own = list(inspect.signature(owner.__init__).parameters.values())[1:]  # type: ignore[misc]
        taken |= {p.name: p for p in own if p.name not in taken and p.kind != p.VAR_KEYWORD}
        if all(p.kind != p.VAR_KEYWORD for p in own):
            return signature.replace(parameters=sorted(taken.values(), key=lambda p: p.kind))
    return signature
