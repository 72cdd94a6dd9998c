"""Starting sooner: torchmetrics, which Lightning imports, without its optional packages.

At import it looks which of them are installed, and imports those that are, in whole: scipy.signal, transformers'
models, matplotlib's figures; a third of the time until the first update. Nothing here uses what they add (plots of
metrics, BERTScore, CLIP scores), so while torchmetrics is being imported, and only so long, the import system says that
they are not installed. Code of yours that wants BERTScore imports scipy, transformers and matplotlib before its task:
what is there already is left to it.
"""

import sys
from collections.abc import Iterable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder, PackageNotFoundError
from types import ModuleType

OPTIONAL = frozenset({"matplotlib", "scipy", "transformers"})
ANY = DistributionFinder.Context()


class Absent(MetaPathFinder):
    """Says of `names` that they are not installed, to whoever asks for a module or for a version."""

    def __init__(self, names: Iterable[str]):
        self.names = frozenset(names)

    def find_spec(self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if fullname.partition(".")[0] in self.names:
            raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

    def find_distributions(self, context: DistributionFinder.Context = ANY) -> list[Distribution]:
        if context.name in self.names:
            raise PackageNotFoundError(context.name)
        return []


class WithoutOptional(Loader):
    """Loads a module as `loader` does, while those of OPTIONAL that nobody has imported yet are absent."""

    def __init__(self, loader: Loader):
        self.loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self.loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        from lightning_utilities.core.imports import module_available, package_available

        absent = Absent(OPTIONAL - sys.modules.keys())
        sys.meta_path.insert(0, absent)
        try:
            self.loader.exec_module(module)
        finally:
            sys.meta_path.remove(absent)
            for remembers in (module_available, package_available):
                remembers.cache_clear()


class LeanTorchmetrics(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname == "torchmetrics" else None
        if spec is not None and spec.loader is not None:
            spec.loader = WithoutOptional(spec.loader)
        return spec


def install() -> None:
    """From now on; what has been imported before stays as it is. sys.meta_path is where Python looks modules up."""
    if not any(isinstance(finder, LeanTorchmetrics) for finder in sys.meta_path):
        sys.meta_path.insert(0, LeanTorchmetrics())
