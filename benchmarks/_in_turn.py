"""Programs that do one update each in turn, in processes of their own: what slows the machine down slows all of them.

A child asks for its turn (`Turns.wait`), does an update, and says how long that took (`Turns.done`); ratios are medians
over rounds. Each child says its own peak memory, packages included; on a GPU, that of the GPU.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

MARK = "turn "  # begins our lines, among whatever else a child prints
WARM_UP = 1


@dataclass
class Side:
    """What one program needed."""

    seconds: list[float] = field(default_factory=list)  # of each update that counts
    memory: float = 0.0  # GB

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    def times(self, other: "Side") -> float:
        """How many times as long as the other's, the median over rounds."""
        return statistics.median(mine / theirs for mine, theirs in zip(self.seconds, other.seconds, strict=True))


class Turns:
    """The child's end. Its first `wait` says that all is ready."""

    def wait(self) -> None:
        self._say(ready=True)
        sys.stdin.readline()
        self.start = time.perf_counter()

    def done(self) -> None:
        cuda = None if (torch := sys.modules.get("torch")) is None else torch.cuda
        on_gpu = cuda is not None and cuda.is_initialized()
        if on_gpu:
            cuda.synchronize()  # what was asked for is done only then
        seconds = time.perf_counter() - self.start
        used = cuda.max_memory_allocated() / 1e9 if on_gpu else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
        self._say(seconds=seconds, memory=used)

    @staticmethod
    def _say(**facts: Any) -> None:
        print(MARK + json.dumps(facts), flush=True)


def asked_for(given: list[str]) -> list[str]:
    """Precisions to measure. Raises SystemExit for a word that is none, and for a GPU that is not there."""
    import torch

    if unknown := [word for word in given if word not in ("fp32", "bf16", "gpu")]:
        sys.exit(f"{' '.join(unknown)}: expected some of fp32 bf16 gpu")
    if "gpu" in given and not torch.cuda.is_available():
        sys.exit("gpu: PyTorch finds no CUDA device here. Type fp32 or bf16, for the CPU.")
    return given or ["fp32", "bf16"]


def in_turn(module: str, sides: list[str], *, rounds: int) -> dict[str, Side]:
    """Runs `python -m MODULE SIDE` for each side, which does WARM_UP + `rounds` updates.

    Raises SystemExit with a child's last words where one fails.
    """
    found = {side: Side() for side in sides}
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        children = {side: stack.enter_context(started(module, side, f"{folder}/{side}")) for side in sides}
        for child in children.values():
            stack.callback(child.kill)  # which no longer runs where all goes well
        for turn in range(WARM_UP + rounds):
            for side, child in children.items():  # all are ready before the first one begins
                heard(child, "ready", f"{folder}/{side}")
            for side, child in children.items():
                print(file=child.stdin, flush=True)
                facts = heard(child, "seconds", f"{folder}/{side}")
                found[side].memory = facts["memory"]
                if turn >= WARM_UP:
                    found[side].seconds.append(facts["seconds"])
        for child in children.values():
            child.communicate()
    return found


def started(module: str, side: str, errors: str) -> "subprocess.Popen[str]":
    with open(errors, "w") as sink:
        return subprocess.Popen(
            [sys.executable, "-m", module, side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
            env=os.environ | {"HF_HUB_OFFLINE": "1"},
        )


def heard(child: "subprocess.Popen[str]", what: str, errors: str) -> dict[str, Any]:
    """The child's next line that says `what`."""
    assert child.stdout is not None
    for line in child.stdout:
        if line.startswith(MARK) and what in (facts := json.loads(line.removeprefix(MARK))):
            return facts
    with open(errors) as said:
        raise SystemExit(said.read()[-2000:])
