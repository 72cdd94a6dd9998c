"""Whether a case ended as promised: the exit status, plain words, nothing of the user's changed, in time."""

import hashlib
import os
import stat
from pathlib import Path

from cases import Case
from forked import Outcome

import folders

WORDS = 20_000  # characters; more is no plain sentence
FAILURES = (  # what may be said of a run that failed, though nothing about the request was wrong
    *(
        "out of memory",
        "disk is full",
        "cannot be written",
        "the loss is",
        "is nan",
        "nothing more could be written",
        "o space left on device",
        "File too large",
        "cannot be read or written",
        "The crawl cannot go on",
    ),
    *(
        "went on without",
        "the Hub cannot be reached",
        "stopped: ",
        "too many files are open",
        "no further process",
        "you have no permission",
    ),
)


class Photograph:
    """Every file below `folder`, and what is in it: a hash, taken again only where the file was touched since `before`.

    Whatever is written, in place or anew, gets another time or another inode.
    """

    def __init__(self, folder: Path, before: "Photograph | None" = None):
        self.marks: dict[str, tuple[int, ...]] = {}
        self.contents: dict[str, str] = {}
        for place, inner, files in os.walk(folder):
            for name in [*files, *inner]:
                path = Path(place) / name
                found = path.lstat()
                if not stat.S_ISDIR(found.st_mode):
                    self._add(path, path.relative_to(folder).as_posix(), found, before)

    def _add(self, path: Path, name: str, found: os.stat_result, before: "Photograph | None") -> None:
        self.marks[name] = (found.st_mode, found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)
        if before is not None and before.marks.get(name) == self.marks[name]:
            self.contents[name] = before.contents[name]
        elif stat.S_ISREG(found.st_mode):
            self.contents[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            self.contents[name] = str(found.st_mode)


def changed(case: Case, before: Photograph, after: Photograph) -> list[str]:
    """Files that were there and are not as they were, but for those that the command was asked to go on with."""
    touched = (name for name, was in before.contents.items() if after.contents.get(name) != was)
    return [name for name in touched if not _may_change(case, name)]


def _may_change(case: Case, name: str) -> bool:
    if name in case.keeps:
        return False
    if name.startswith("cache/"):
        return True
    for place in case.writes:
        if name.startswith(f"{place}/"):
            inside = name.removeprefix(f"{place}/")
            return folders.is_ours(inside, "run", "token files") or place in ("sweep", "cache", "hf/llama")
    return False


def executed(after: Photograph) -> list[str]:
    """Files that only a command hidden in what was given can have made."""
    return [name for name in after.contents if name.rpartition("/")[2] in ("PWNED", "X")]


def faults(case: Case, outcome: Outcome, lost: list[str]) -> list[str]:
    """What was not as promised, in words."""
    found = [f"changed {name}" for name in lost[:5]]
    found += [f"answered {answer[:60]!r}" for answer in outcome.answers if answer.startswith(b"HTTP/1.1 5")]
    if "Traceback (most recent call last)" in outcome.text:
        found.append("a traceback")
    elif "The traceback is in" in outcome.text and "out of memory" not in outcome.text:
        found.append("a fault that nobody named")
    if len(outcome.said) > WORDS:
        found.append(f"{len(outcome.said):,} characters are said")
    if outcome.left_behind:
        found.append("processes are left behind")
    return found + _about_status(case, outcome)


def _about_status(case: Case, outcome: Outcome) -> list[str]:
    asked = [case.shot[0]] if case.shot else [15] if outcome.answers else []
    if outcome.late:
        asked.append(15)
        if not case.may_be_long:
            return [f"no end after {outcome.seconds:.0f} s"]
    status = outcome.status
    if case.works and status != 0:
        return [f"exit status {status} of a command that is right"]
    if status in (0, 2) or status - 128 in asked or (status < 0 and -status in asked and status != -15):
        silent = status == 2 and not outcome.text.strip() and not case.screen
        return ["refused without a word"] if silent else []
    if status == 1 and (any(words in outcome.text for words in FAILURES) or case.screen):
        return []
    return [f"exit status {status}"]
