"""Who may import whom. The table is the design: data flows one way, and heavy packages stay where they belong."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# single files that every package may import
GROUND = ("errors", "bounds", "batch", "folders", "commands", "stopping")
# package -> first-party packages that it may import, beside itself and `errors`
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "bounds": set(),
    "batch": set(),
    "folders": set(),
    "commands": set(),
    "stopping": set(),
    "tokenization": set(),
    "models": set(),
    "optimization": set(),
    "loggers": set(),
    "crawl": {"launcher"},  # to check its keys; shares a file format with datamodules, no code
    "datamodules": {"tokenization", "crawl"},  # crawl for the text of pages, imported when there is one
    "lightning_modules": {"models", "optimization", "tokenization"},
    "callbacks": {"tokenization", "models", "evaluation"},  # text is generated and judged as tasks do it
    "evaluation": {"tokenization", "models"},
    "reports": {"evaluation"},  # reads run folders, not the code that wrote them
    "inspection": set(),  # pages, charts, colours: nothing of models or data
    "launcher": set(),  # meets the rest through `_target_` only
    "tasks": {
        *("callbacks", "crawl", "datamodules", "evaluation", "inspection", "launcher", "lightning_modules", "loggers"),
        *("models", "optimization", "reports", "tokenization"),
    },
    "benchmarks": {  # and every third-party package: they measure against others
        *("callbacks", "datamodules", "evaluation", "launcher", "lightning_modules", "loggers", "models"),
        *("optimization", "tasks", "tokenization"),
    },
    "run": {"launcher"},
}
# third-party package -> the only ones that may import it
OWNERS: dict[str, set[str]] = {
    "hydra": {"launcher", "run"},
    "omegaconf": {"launcher", "run", "tasks"},
    "lightning": {"callbacks", "datamodules", "lightning_modules", "loggers", "tasks", "benchmarks"},
    "torch": {
        *("batch", "benchmarks", "callbacks", "datamodules", "evaluation", "lightning_modules", "loggers", "models"),
        *("optimization", "tasks"),
    },
    "transformers": {"models", "tokenization", "benchmarks"},
    "tokenizers": {"tokenization", "benchmarks"},
    "peft": {"models"},
    "bitsandbytes": {"models"},
    "sentencepiece": {"tokenization"},
    "tiktoken": {"tokenization"},
    **{name: {"crawl"} for name in ("scrapy", "twisted", "lxml", "trafilatura", "ftfy", "warcio", "redis")},
    "tensorboard": {"loggers", "tasks"},
    "wandb": {"loggers"},
    "scipy": {"reports", "evaluation", "tasks"},
    "matplotlib": {"reports", "evaluation"},
}


def modules() -> list[Path]:
    """Every Python file of the program itself."""
    folders = [folder for folder in ROOT.iterdir() if folder.name in MAY_IMPORT and folder.is_dir()]
    return sorted(
        [
            *(f for folder in folders for f in folder.rglob("*.py")),
            *(ROOT / f"{name}.py" for name in ("run", *GROUND)),
        ]
    )


def imports(file: Path) -> set[str]:
    """First names of what a file imports, also inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative imports hide where the arrow points"
            found.add(str(node.module).split(".")[0])
    return found


def package_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def test_every_package_is_in_the_table() -> None:
    packages = {folder.parent.name for folder in ROOT.glob("*/__init__.py")} - {"tests"}
    assert packages <= MAY_IMPORT.keys(), "a new package: say in the table whom it may import"
    assert len(modules()) > 40


@pytest.mark.parametrize("file", modules(), ids=lambda file: str(file.relative_to(ROOT)))
def test_arrows_point_one_way(file: Path) -> None:
    package, names = package_of(file), imports(file)
    wrong = (names & MAY_IMPORT.keys()) - MAY_IMPORT[package] - {package, *GROUND}
    assert not wrong, f"{package} may import {sorted(MAY_IMPORT[package])}, not {sorted(wrong)}"
    foreign = {name for name in names & OWNERS.keys() if package not in OWNERS[name] | {"benchmarks"}}
    assert not foreign, f"{sorted(foreign)} is not for {package}"


def test_our_names_are_nobody_elses() -> None:
    taken = packages_distributions()
    for name in MAY_IMPORT.keys() | {"tests"}:
        assert name not in sys.stdlib_module_names
        assert set(taken.get(name, [])) <= {"nanolab"}, f"{name} is also a package of {taken[name]}"
