"""Who may import whom. The table is the design: data flows one way, and heavy packages stay where they belong."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# single files that every package may import
GROUND = (
    "errors",
    "bounds",
    "batch",
    "folders",
    "commands",
    "stopping",
    "strict_json",
    "strict_yaml",
    "progress",
    "cores",
)
# package -> first-party packages that it may import, beside itself and `errors`
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "bounds": set(),
    "batch": set(),
    "folders": set(),
    "commands": set(),
    "stopping": set(),
    "strict_json": set(),
    "strict_yaml": set(),
    "progress": set(),
    "cores": set(),
    "tokenization": set(),
    "models": set(),
    "optimization": set(),
    "loggers": set(),
    "crawl": {"inspection", "launcher"},  # to show, to check its keys; shares a file format with datamodules, no code
    "datamodules": {"tokenization", "crawl"},  # crawl for the text of pages, imported when there is one
    "rewards": {"models", "tokenization"},
    # online RL judges answers
    "lightning_modules": {"evaluation", "models", "optimization", "rewards", "tokenization"},
    "callbacks": {"tokenization", "models", "evaluation"},  # text is generated and judged as tasks do it
    "evaluation": {"inspection", "tokenization", "models"},
    "reports": {"evaluation", "inspection", "runs"},  # reads run folders, not the code that wrote them
    "runs": set(),
    "inspection": set(),  # pages, charts, colours: nothing of models or data
    "launcher": {"runs"},  # meets the rest through `_target_` only
    "tasks": {
        *("callbacks", "crawl", "datamodules", "evaluation", "inspection", "launcher", "lightning_modules", "loggers"),
        *("models", "optimization", "reports", "rewards", "runs", "tokenization"),
    },
    "benchmarks": {  # and every third-party package: they measure against others
        *("callbacks", "crawl", "datamodules", "evaluation", "launcher", "lightning_modules", "loggers", "models"),
        *("nanolab", "optimization", "rewards", "tasks", "tokenization"),
    },
    "nanolab": {"launcher", "models", "runs", "tasks", "tokenization"},
    "run": {"launcher"},
}
ROOMS = {  # what is in each, for CONTRIBUTING.md
    "run": "the one entry: composes, checks, hands over",
    "errors": "what a wrong request and a failed run raise",
    "bounds": "ranges as types: the schema checks them, help shows them",
    "folders": "the manifest: which files a task writes into a folder, and may remove",
    "commands": "commands as they are printed, each word quoted",
    "stopping": "signals in every phase, a screen that goes away",
    "strict_json": "JSON, our own and foreign: the one decoder",
    "strict_yaml": "YAML, our own and foreign: the one reader",
    "cores": "threads that leave them to other programs while they wait",
    "progress": "how far long work has come: a bar, or a line now and then",
    "batch": "what a batch is: the contract between data, models and objectives",
    "launcher": "`config/` composes and checks, `jobs/` runs, `help/` explains; nothing heavy is imported",
    "tasks": "one file per verb, each a recipe; `parts.py` builds what they share; `views/` what `inspect` shows, "
    "`evaluating/` what `evaluate` measures, `serving/` what `serve` answers, `guiding/` schemas and what else guides "
    "a text",
    "tokenization": "text <-> ids, `chat/` conversations <-> ids; never torch",
    "datamodules": "one file per `data=` option; `kinds/` what they inherit, `reading/` files and rows, `preparing/` "
    "token files, `batching/` updates",
    "models": "networks, one file per family; `layers/` their parts, `weights/` in and out, `adapters/`, `boosting/`",
    "optimization": "optimizers, schedules",
    "lightning_modules": "one file per objective; `base.py` is one update, `update.py` its parts",
    "rewards": "what an answer is worth to online RL: one file per part",
    "callbacks": "rhythm, checkpoints, metrics, what one sees",
    "loggers": "metrics.csv, TensorBoard, wandb",
    "crawl": "from web sites to a corpus: `web/` `queueing/` `processing/` `extract/` `dedup/` `clean/` `filters/` "
    "`spiders/` `report/`",
    "evaluation": "metrics, benchmarks and `tools/` (one file each), intervals, likelihoods and answers",
    "reports": "run folders -> statistics, figures, pages",
    "runs": "run folders found, named, listed, compared, removed; curves as lists, and those to expect",
    "inspection": "the one template of HTML pages, charts, colours in a terminal",
    "nanolab": "from Python: `nanolab.load`, `train`, `runs`",
    "benchmarks": "speed and memory, as ratios in one run",
}
# third-party package -> the only ones that may import it
OWNERS: dict[str, set[str]] = {
    "hydra": {"launcher", "run"},
    "omegaconf": {"launcher", "nanolab", "run", "tasks"},
    "lightning": {"callbacks", "datamodules", "lightning_modules", "loggers", "tasks", "benchmarks"},
    "torch": {
        *("batch", "benchmarks", "callbacks", "datamodules", "evaluation", "lightning_modules", "loggers", "models"),
        *("nanolab", "optimization", "rewards", "tasks"),
    },
    "jinja2": {"inspection", "tokenization"},
    "transformers": {"models", "rewards", "tokenization", "benchmarks"},
    "tokenizers": {"tokenization", "benchmarks"},
    "peft": {"models"},
    "bitsandbytes": {"models"},
    "llguidance": {"tasks"},
    "sentencepiece": {"tokenization"},
    "tiktoken": {"tokenization"},
    **{name: {"crawl"} for name in ("scrapy", "twisted", "lxml", "trafilatura", "ftfy", "warcio", "redis")},
    "tensorboard": {"loggers", "tasks"},
    "wandb": {"loggers"},
    **{name: {"tasks"} for name in ("fastapi", "uvicorn", "pydantic", "pydantic_core")},
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


def table() -> str:
    """The rooms as CONTRIBUTING.md shows them."""
    lines = ["| room | what is in it | may import of ours | and alone of all |", "|---|---|---|---|"]
    for room, words in ROOMS.items():
        ours = ", ".join(f"`{name}`" for name in sorted(MAY_IMPORT[room])) or "-"
        foreign = ", ".join(sorted(name for name, owners in OWNERS.items() if owners == {room})) or "-"
        name = f"{room}/" if (ROOT / room).is_dir() else f"{room}.py"
        lines.append(f"| `{name}` | {words} | {ours} | {foreign} |")
    return "\n".join(
        [*lines, "| `conf/`, `sweeps/` | data only: one file per option; questions that take several runs | - | - |"]
    )


def test_contributing_shows_this_table() -> None:
    assert ROOMS.keys() == MAY_IMPORT.keys()
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    assert table() in text, "run: python tests/test_layering.py"


if __name__ == "__main__":
    page = ROOT / "CONTRIBUTING.md"
    before, _, rest = page.read_text(encoding="utf-8").partition("holds it -->\n\n")
    after = rest[rest.index("Data flows one way") :]
    page.write_text(f"{before}holds it -->\n\n{table()}\n\n{after}", encoding="utf-8")
