"""Running a crawl as a user does, in a process of its own, and reading what it leaves."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
FAST = [
    "contact=me@example.org",
    "allow_private=true",
    "delay_s=0",
    "autothrottle=false",
    "retry_wait_s=0.1",
    "progress_s=0",
    "processes=1",
]


def command(folder: Path, *words: str) -> list[str]:
    """The command line of a fast crawl on loopback."""
    return [sys.executable, "-m", "crawl", *FAST, f"output={folder}", *words]


def environment() -> dict[str, str]:
    """So that the package is found wherever the tests run from."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))}


def crawl(folder: Path, *words: str, status: int = 0, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a crawl to its end and check its exit status."""
    done = subprocess.run(command(folder, *words), env=environment(), capture_output=True, text=True, timeout=timeout)
    assert done.returncode == status, f"exit {done.returncode}, expected {status}\n{done.stdout}\n{done.stderr}"
    return done


def manifest(folder: Path) -> dict[str, Any]:
    """The manifest, after checking that it adds up."""
    found = json.loads((folder / "manifest.json").read_text("utf-8"))
    assert found["fetched"] == found["kept"] + sum(found["dropped"].values()) + sum(found["failed"].values())
    assert found["kept"] == len(documents(folder)), "the manifest counts what is in the shards"
    return found


def documents(folder: Path) -> list[dict[str, Any]]:
    """All documents; every line of every shard must be whole."""
    lines = [
        line
        for shard in sorted(folder.glob("documents-*.jsonl"))
        for line in shard.read_bytes().splitlines(keepends=True)
    ]
    assert all(line.endswith(b"\n") for line in lines)
    return [json.loads(line) for line in lines]


def refused(folder: Path, *words: str) -> str:
    """Run a crawl that must be refused as a wrong request; returns what it says."""
    base = [word for word in FAST if word.split("=")[0] not in {given.split("=")[0] for given in words}]
    line = [
        sys.executable,
        "-m",
        "crawl",
        *base,
        f"output={folder}",
        *[word for word in words if not word.endswith("=-")],
    ]
    done = subprocess.run(line, env=environment(), capture_output=True, text=True, timeout=30)
    assert done.returncode == 2, f"exit {done.returncode}\n{done.stderr}"
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr
