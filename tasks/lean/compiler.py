"""torch._dynamo, torch's compiler, not before something is compiled.

Lightning and torch.optim import it in every run, for three names that have an answer without it: `OptimizedModule`, the
class of compiled modules, of which there are none; `disable`, which hides a function from the compiler; `graph_break`,
which tells it where to stop. Whatever else is asked of it, or of a module in it, imports it, and from then on these
three are its own.
"""

import sys
from collections.abc import Callable, Sequence
from functools import partial, wraps
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

DYNAMO = "torch._dynamo"


def loaded() -> ModuleType | None:
    """The compiler, where something has asked for it."""
    found = sys.modules.get(DYNAMO)
    return None if isinstance(found, NotYet) else found


def load() -> ModuleType:
    """The compiler, imported in the place of what stood for it."""
    if loaded() is None:
        sys.meta_path[:] = [finder for finder in sys.meta_path if not isinstance(finder, NotUntilAsked)]
        sys.modules.pop(DYNAMO, None)
        vars(sys.modules["torch"]).pop("_dynamo", None)
    return import_module(DYNAMO)


class Compiled(type):
    """Is asked by isinstance(module, OptimizedModule)."""

    def __instancecheck__(cls, instance: object) -> bool:
        dynamo = loaded()
        return dynamo is not None and isinstance(instance, dynamo.OptimizedModule)


class OptimizedModule(metaclass=Compiled):
    pass


def disable(function: Callable[..., Any] | None = None, recursive: bool = True, **options: Any) -> Callable[..., Any]:
    """As torch._dynamo.disable, which is asked when the function is called and there is something to hide it from."""
    if function is None:
        return partial(disable, recursive=recursive, **options)
    hidden: Callable[..., Any] | None = None

    @wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        nonlocal hidden
        dynamo = loaded()
        if dynamo is None:
            return function(*args, **kwargs)
        if hidden is None:
            hidden = dynamo.disable(function, recursive, **options)
        return hidden(*args, **kwargs)

    return call


def graph_break(msg: str = "") -> None:
    """Nothing is being traced."""


class NotYet(ModuleType):
    """Stands for the compiler in sys.modules."""

    def __init__(self) -> None:
        super().__init__(DYNAMO)
        self.__path__: list[str] = []  # a package, whose modules the finder below is asked for
        self.OptimizedModule, self.disable, self.graph_break = OptimizedModule, disable, graph_break

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # inspect asks every module for its __file__
            raise AttributeError(f"module {DYNAMO!r} has no attribute {name!r} yet")
        return getattr(load(), name)


class StandIn(Loader):
    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return NotYet()

    def exec_module(self, module: ModuleType) -> None:
        pass


class ImportedNow(Loader):
    """A module of the compiler, which comes with it."""

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        load()
        module = import_module(spec.name)
        self.own = module.__spec__
        return module

    def exec_module(self, module: ModuleType) -> None:
        if module.__spec__ is not self.own:  # modules of settings let nobody set it
            module.__spec__ = self.own


class NotUntilAsked(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname == DYNAMO:
            return ModuleSpec(fullname, StandIn())
        return ModuleSpec(fullname, ImportedNow()) if fullname.startswith(f"{DYNAMO}.") else None
