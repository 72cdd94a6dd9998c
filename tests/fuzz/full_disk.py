"""A disk that is full, from before the first file to the last: what is promised of each task that writes.

    mkdir -p /tmp/small/here && mount -t tmpfs -o size=96m small /tmp/small/here
    PYTHONPATH=. python tests/fuzz/full_disk.py /tmp/small/here [work ...]

The mount point is emptied first. Each kind of work is tried with as little room left as ROOMS says, in kB; the exit
status must be 0 (there was room), 1 or 2, the words must say that the disk is full, and what was there must be there.
"""

import os
import shutil
import sys
import tempfile
from pathlib import Path

import cases
import forked
import judging
import yard

from tests.crawl.site import Site, tree

ROOMS = (0, 4, 12, 24, 40, 60, 100, 180, 250, 500, 1000)
FULL = ("disk is full", "No space left on device")
LOADED = ("hardware=cpu",)
CRAWL = ("contact=me@example.org", "allow_private=true", "retries=0", "output=new", "obey_robots=false")
WORK: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # words, and what they may go on writing into
    "training": (yard.RUNS["gpt"], ()),
    "tensorboard": ((*(word for word in yard.RUNS["gpt"] if not word.startswith("logger=")), "logger=tensorboard"), ()),
    "resume": (("resume=runs/gpt", "trainer.max_steps=6"), ("runs/gpt",)),
    "dpo": (yard.RUNS["dpo"], ()),
    "kto": (yard.RUNS["kto"], ()),
    "grpo": (yard.RUNS["grpo"], ()),
    "boosting": (yard.RUNS["gbft"], ()),
    "sweep": (("-m", "seed=1,2", *yard.RUNS["gpt"]), ()),
    "prepare": (("task=prepare", *yard.ON_TEXT, *yard.BPE, "data.out=new"), ()),
    "evaluate": (("task=evaluate", "benchmark=arithmetic", "evaluate.limit=4", "init_from=runs/sft", *LOADED), ()),
    "generate": (("task=generate", "init_from=runs/gpt", "max_new_tokens=4", *LOADED), ()),
    "inspect": (("task=inspect", "init_from=runs/gpt"), ()),
    "report": (("task=report", "runs=sweep", "report.style=paper"), ("sweep",)),
    "export": (("task=export", "init_from=runs/llama", *LOADED), ()),
    "gguf": (("task=export", "init_from=runs/llama", "export.format=gguf", *LOADED), ()),
    "merge": (("task=merge", "init_from=sweep/0-seed_1", "merge.others=[sweep/1-seed_2]", *LOADED), ()),
    "crawl": (CRAWL, ()),
    "warc": (("spider=warc", "warc_files=[crawled/page.warc]", "output=new", "processes=1", CRAWL[0]), ()),
}


def main() -> int:
    disk, wanted = Path(sys.argv[1]), sys.argv[2:] or list(WORK)
    if not os.path.ismount(disk):
        sys.exit(f"{disk} is no mount point: see the first lines of this file")
    forked.import_everything()
    bad = 0
    place = Path(tempfile.mkdtemp(prefix="full-"))  # a TemporaryDirectory would go as the first case ends
    try:
        forked.in_child(lambda: yard.build(place / "yard"))
        for name in wanted:
            bad += sum(_tried(name, room, place / "yard", disk) for room in ROOMS)
    finally:
        forked.clear(place)
    print(f"{len(wanted) * len(ROOMS) - bad} of {len(wanted) * len(ROOMS)} ended as promised")
    return 1 if bad else 0


def _tried(name: str, room: int, filled: Path, disk: Path) -> bool:
    """Whether it did not end as promised."""
    words, writes = WORK[name]
    _empty(disk)
    _copy(filled, disk)
    before = judging.Photograph(disk)
    left = _fill(disk, room)
    if name == "crawl":
        with Site() as site:
            site.fallback = tree(30)
            status, found = _run(name, [f"start_urls=[{site.url}/page/0]", *words], writes, disk, before)
    else:
        status, found = _run(name, list(words), writes, disk, before)
    print(f"{name:<14} {left:>5} kB free: exit {status}{''.join(f'; {fault}' for fault in found)}", flush=True)
    return bool(found)


def _run(
    name: str, words: list[str], writes: tuple[str, ...], disk: Path, before: judging.Photograph
) -> tuple[int, list[str]]:
    program = "crawl" if name in ("crawl", "warc") else "run"
    case = cases.Case(words, program=program, writes=writes)
    outcome = forked.run(case.words, disk, program=program)
    found = judging.faults(case, outcome, judging.changed(case, before, judging.Photograph(disk, before)))
    if outcome.status in (1, 2) and not any(words in outcome.text for words in FULL):
        found.append("it does not say that the disk is full")
    if found or "SHOW" in os.environ:
        print(outcome.said[-1500:])
    return outcome.status, found


def _empty(disk: Path) -> None:
    for path in disk.iterdir():
        forked.clear(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def _copy(filled: Path, disk: Path) -> None:
    shutil.copytree(filled, disk, symlinks=True, dirs_exist_ok=True)


def _fill(disk: Path, room: int) -> int:
    """Leaves `room` kB, and returns how many are left."""
    with open(disk / "ballast", "wb") as ballast:
        free = os.statvfs(disk)
        ballast.write(bytes(max(0, free.f_bavail * free.f_frsize - room * 1024)))
    after = os.statvfs(disk)
    return after.f_bavail * after.f_frsize // 1024


if __name__ == "__main__":
    sys.exit(main())
