"""All kinds of cases together, each with its weight."""

import shutil
from pathlib import Path
from random import Random

import on_files  # noqa: F401 - they note their kinds
import on_folders  # noqa: F401
import on_surroundings  # noqa: F401
import on_tasks  # noqa: F401
import on_words  # noqa: F401
from cases import KINDS, Case


def make(seed: int, number: int, yard: Path, folder: Path, only: str | None = None) -> tuple[str, Case]:
    """Lays out `folder` for case `number` and returns what is typed there, with the name of its kind."""
    rng = Random(f"{seed}:{number}")
    makers = [maker for maker in KINDS if only in (None, maker.__name__)]
    maker = rng.choices(makers, [KINDS[maker] for maker in makers])[0]
    shutil.copytree(yard, folder, symlinks=True)
    return maker.__name__, maker(rng, folder)
