"""Every command in README.md and docs/ is one that the launcher takes: options, keys, types, combinations."""

import re
import shlex
from pathlib import Path

import pytest

from launcher.config.compose import compose
from launcher.lab import Lab

ROOT = Path(__file__).parents[1]
LAB = Lab(ROOT)
FIXTURE = str(ROOT / "tests/fixtures/run_of_a56f643")
# findings.md records what was typed at its time
PAGES = [
    ROOT / "README.md",
    ROOT / "crawl/README.md",
    *sorted(ROOT.glob("docs/[!f]*.md")),
    ROOT / "docs/fine-tuning.md",
]
NAMES = re.compile(
    r"\b(MODERN_RUN|REWARD_RUN|SFT_RUN|GBFT_RUN|RUN)\b(?!/)"
)  # a run folder, whatever it was trained for
ELSEWHERE = (
    "GBFT_RUN",
    "outputs/rl",
    "\\",
    "outputs/docs-model",
    "hydra/launcher",
    "hydra/sweeper",
    "--help",
    "resume=",
    "rerun=",
    "<",
    "[...]",
    "sweeps=",
    "SWEEP",
    "ema.ckpt",
)


def commands() -> list[tuple[str, str]]:
    """(page, command) of each line that begins with `python run.py`, its comment left out."""
    found = []
    for page in PAGES:
        for line in page.read_text(encoding="utf-8").splitlines():
            if match := re.match(r"python run\.py\b(.*)", line):
                found.append((page.name, re.sub(r"\s+#.*$", "", match[1]).strip()))
    return found


def test_there_are_many() -> None:
    assert len(commands()) > 60


@pytest.mark.parametrize(("page", "command"), commands(), ids=lambda text: text[:90])
def test_a_documented_command_composes(page: str, command: str) -> None:
    if any(word in command for word in ELSEWHERE):
        pytest.skip("asks for a sweep, help or an earlier run: tests/test_sweeps.py, tests/launcher")
    words = shlex.split(NAMES.sub(FIXTURE, command).replace("=FOLDER_OR_ID", "=gpt2").replace("=FOLDER", f"={FIXTURE}"))
    multirun = "-m" in words
    compose([word for word in words if word != "-m"], LAB, multirun=multirun)
