"""task=inspect: look at what a run sees or is, in the terminal and on one page in the run folder.

What there is to look at are the files of tasks/views; a new view is a new file with `show(cfg, run)`.
"""

from importlib import import_module
from pathlib import Path
from typing import Annotated, TypedDict

from omegaconf import DictConfig

from bounds import PositiveInt, between
from errors import RequestError
from launcher.jobs.run_folder import RunFolder

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("weights", "data", "objective", "trainer.accelerator", "trainer.products")

# what is looked at: a module there, whose own READS says which keys of `inspect` it looks at
PARTS = ("inspect.view", "tasks.views")
VIEWS = Path(__file__).parent / "views"


class Inspect(TypedDict):
    """The section `inspect`."""

    view: str
    steps: PositiveInt
    documents: PositiveInt
    document_tokens: PositiveInt
    terminal_rows: PositiveInt
    text: str | None
    tokens: Annotated[int, between(2, 512)]  # of a map: T x T places for each head
    predictions: str | None
    examples: PositiveInt


def inspect(cfg: DictConfig, run: RunFolder) -> None:
    """Raises RequestError if there is no view of that name."""
    there = sorted(file.stem for file in VIEWS.glob("[!_]*.py"))
    if cfg.inspect.view not in there:
        raise RequestError(f"inspect.view={cfg.inspect.view}: there is no such view. There are: {', '.join(there)}.")
    import_module(f"tasks.views.{cfg.inspect.view}").show(cfg, run)
