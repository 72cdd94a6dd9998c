"""A case: what is typed, in a folder of which some parts are damaged. All of it follows from a seed and a number."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random

import mangling
from forked import ROOT, Around
from yard import BPE, MODEL, ON_TEXT, RUNS, SHORT

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL)
PATHS_OF_OURS = ("run_dir", "data.out", "data.cache_dir", "export.path", "hydra.sweep.dir", "hydra.run.dir")


@dataclass(frozen=True)
class Case(Around):
    """One command line, with what is around it.

    `may_be_long`: a number typed may ask for hours; it is enough that it stops when asked to.
    `writes`: folders of runs that the command may go on writing into. `keeps`: files that nobody may touch even there.
    """

    words: list[str]
    twice: bool = False
    may_be_long: bool = False
    writes: tuple[str, ...] = ()
    keeps: tuple[str, ...] = ()
    works: bool = False  # nothing is wrong with it: it ends with 0
    damage: list[str] = field(default_factory=list)


Maker = Callable[[Random, Path], Case]
KINDS: dict[Maker, int] = {}  # with their weights


def kind(weight: int) -> Callable[[Maker], Maker]:
    def note(maker: Maker) -> Maker:
        KINDS[maker] = weight
        return maker

    return note


@cache
def keys_of(recipe: tuple[str, ...]) -> list[str]:
    """Every key that may be typed beside these words."""
    from launcher.config.compose import compose
    from launcher.config.schema import Schema
    from launcher.lab import Lab

    plan = compose([word for word in recipe if not word.startswith("init_from=")], Lab(ROOT))
    return list(Schema(plan.cfg, plan.choices, Lab(ROOT)).valid_keys())


@cache
def groups() -> dict[str, list[str]]:
    from launcher.lab import Lab

    return {group: list(options) for group, options in Lab(ROOT).groups.items()}


def recipe_of(rng: Random) -> tuple[str, ...]:
    """Words that work, of any task."""
    name = rng.choice(list(RUNS))
    looking = (
        *("task=generate prompt=The max_new_tokens=4", "task=evaluate", "task=export", "task=check", "task=inspect"),
        *(
            "task=inspect inspect.view=attention",
            "task=inspect inspect.view=positions",
            "task=evaluate benchmark=arithmetic",
        ),
        *("task=inspect inspect.view=tokenizer", "task=chat", "task=evaluate evaluate.past_context=64"),
    )
    return rng.choice(
        (
            RUNS[name],
            ("task=check", *RUNS[name]),
            (*rng.choice(looking).split(), f"init_from=runs/{name}", "hardware=cpu"),
            ("task=report", "runs=sweep"),
            ("task=prepare", *ON_TEXT, "data.out=new"),
            (*MODEL, *SHORT, *ON_TEXT, *BPE),
            ("task=crawl", "crawl.start_urls=[http://127.0.0.1:9/]", "crawl.contact=me@example.org", "crawl.retries=0"),
        )
    )


def inside(rng: Random, folder: Path) -> tuple[str, str]:
    """Damages one of the files below; its name and how."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    file = rng.choice(files)
    return str(file.relative_to(folder)), mangling.file(rng, file)
