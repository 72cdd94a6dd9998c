"""Which processor this is, and what was measured of it: a file per machine and PyTorch in the user's cache folder."""

import hashlib
import json
import os
import platform
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

import strict_json

# what of a processor's abilities decides how fast it multiplies
ABILITIES = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")
VERSION = 2  # of the file; 1 tried bf16 with the casts, and missed that AMX is fast


def processor() -> str:
    """ "AMD EPYC, avx2 avx512f avx512_bf16": as far as the system says."""
    name, able = platform.processor() or platform.machine(), []
    with suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        facts: dict[str, str] = {}
        for key, value in (line.split(":", 1) for line in lines if ":" in line):
            facts.setdefault(key.strip(), value.strip())  # the first processor's
        name = facts.get("model name", name)
        flags = facts.get("flags", facts.get("Features", "")).split()
        able = [ability for ability in ABILITIES if ability in flags]
    return ", ".join([name, *([" ".join(able)] if able else [])])


def cache_file() -> Path:
    """Of this machine as it is: another limit of threads is another machine."""
    known = [processor(), torch.__version__, torch.get_num_threads(), os.environ.get("ONEDNN_MAX_CPU_ISA"), VERSION]
    key = hashlib.sha256(json.dumps(known).encode()).hexdigest()[:16]
    return cache_folder() / f"cpu-{key}.json"


def cache_folder() -> Path:
    """NANOLAB_CACHE, or where this system has a user's caches."""
    if folder := os.environ.get("NANOLAB_CACHE"):
        return Path(folder)
    if folder := os.environ.get("XDG_CACHE_HOME"):
        return Path(folder) / "nanolab"
    return Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache") / "nanolab"


def read(file: Path) -> dict[str, Any]:
    """What was measured before; nothing where there is none, or where the file is damaged."""
    try:
        return strict_json.object_in(file)
    except (OSError, ValueError):
        return {}


def write(file: Path, facts: dict[str, Any]) -> None:
    """Whole or not at all; where the folder cannot be written, the next run measures again."""
    with suppress(OSError):
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_name(f".{file.name}.{os.getpid()}")
        draft.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
        draft.replace(file)
