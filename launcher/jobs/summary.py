"""summary.json: what was run, how it ended, and what came of it. Written at the end, whatever the end was."""

import hashlib
import json
import math
import os
import platform
import subprocess
import sys
import time
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from commands import run_py
from launcher.config.compose import Plan
from launcher.jobs.endings import Ending
from launcher.jobs.run_folder import RunFolder, write_atomically
from launcher.jobs.state import peak_memory_bytes
from strict_json import object_in

PACKAGES = ("torch", "lightning", "hydra-core", "omegaconf", "numpy", "tokenizers", "transformers")
FILLED_BY_TASKS: dict[str, Any] = {
    "step": 0,
    "tokens_seen": 0,
    "tokens_per_second": None,
    "parameters": None,
    "metrics": {},
    "best": None,
    "data_fingerprint": None,
    "tokenizer_fingerprint": None,
}


class Clock:
    """Starts with the job; asks git for the commit meanwhile."""

    def __init__(self, root: Path):
        self.start, self.processor = time.perf_counter(), processor_seconds()
        self.root = root
        self._git = [_git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")]

    def seconds(self) -> float:
        return time.perf_counter() - self.start

    @cached_property
    def code(self) -> dict[str, Any]:
        """Commit, whether files differ from it or are new (null outside a repository), and what the files hold."""
        commit, changes = (_output(process) for process in self._git)
        return {
            "git_commit": commit and commit.strip(),
            "git_dirty": None if changes is None else bool(changes.strip()),
            "code_fingerprint": code_fingerprint(self.root),
        }


def record(run: RunFolder, plan: Plan, ending: Ending, clock: Clock, command: list[str], *, keep: bool = False) -> None:
    """Writes summary.json; with `keep` a summary that rank 0 has written stays, and only learns how the whole ended.

    Raises:
        OSError: the disk does not let us; the old summary then stays.
    """
    file = run.path / "summary.json"
    end = {"status": ending.status, "exit_status": ending.code, "error": ending.error}
    if keep and file.is_file():
        known = object_in(file)
        if known["exit_status"] == ending.code:
            return
    else:
        measured = {"wall_seconds": round(clock.seconds(), 3), "peak_memory_bytes": peak_memory_bytes()}
        measured["processor_seconds"] = round(processor_seconds() - clock.processor, 3)
        known = facts(plan, command) | FILLED_BY_TASKS | measured | clock.code | run.results
    write_atomically(file, json.dumps(plain(known | end), indent=2, ensure_ascii=False) + "\n")


def processor_seconds() -> float:
    """Of this process and of those that it has waited for, all cores together."""
    others = os.times()
    return time.process_time() + others.children_user + others.children_system


def facts(plan: Plan, command: list[str]) -> dict[str, Any]:
    """What is known before the job starts."""
    names = {group: plan.choices.get(group) for group in ("task", "model", "objective", "data", "tokenizer")}
    try:
        seed = OmegaConf.select(plan.cfg, "seed")
    except OmegaConfBaseException:
        seed = None
    return {
        "status": None,  # filled in by the ending, here for the order
        "exit_status": None,
        "error": None,
        **names,
        "seed": seed,
        "overrides": plan.overrides,
        "command": run_py(*command),
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    found = {"python": platform.python_version(), "platform": platform.platform()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available():
        found["device"] = torch.cuda.get_device_name()
    return found


def code_fingerprint(root: Path) -> str:
    """SHA-256 of the program's Python files, those of tests left out."""
    packages = (file.parent for file in root.glob("*/__init__.py") if file.parent.name != "tests")
    files = sorted([*root.glob("*.py"), *(file for package in packages for file in package.rglob("*.py"))])
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root)}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def plain(value: Any) -> Any:
    """As JSON can hold it: numbers of numpy and torch as Python's, NaN and infinities as null."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, bool | int | str) or value is None:
        return value
    if hasattr(value, "item"):
        return plain(value.item())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value)


def _git(root: Path, *words: str) -> subprocess.Popen[str] | None:
    try:
        return subprocess.Popen(
            ["git", "-C", str(root), *words], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )
    except OSError:
        return None


def _output(process: subprocess.Popen[str] | None) -> str | None:
    if process is None:
        return None
    try:
        text, _ = process.communicate(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        return None
    return text if process.returncode == 0 else None
