"""rerun=RUN: what is not as it was then (code, versions, data, tokenizer), and whether the result is the same (N5).

Code and versions are compared before the job starts; data and tokenizer are known when it is over.
"""

from pathlib import Path
from typing import Any

from runs.files import read_yaml, typed_words
from strict_json import object_in

Summary = dict[str, Any]
HORIZON = ("max_steps", "max_time")  # of trainer: schedules run to the end that is planned
RESULT = ("val/loss", "val/bpb", "val/reward", "train/loss")  # the first that both runs have


def summary_of(folder: str | Path) -> Summary | None:
    """What that run wrote; None where nothing can be read."""
    file = Path(folder).expanduser() / "summary.json"
    try:
        return object_in(file) if file.is_file() else None
    except (OSError, ValueError):
        return None


def surroundings(then: Summary, now: Summary) -> list[str]:
    """Differences of code and versions, one a line."""
    lines = code(then, now)
    before, after = then.get("versions") or {}, now.get("versions") or {}
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name) and (name != "device" or after.get(name)):
            lines.append(f"{name}: {before.get(name) or 'not there'} then, {after.get(name) or 'not there'} now")
    return lines


def code(then: Summary, now: Summary) -> list[str]:
    """By the fingerprint of the files where both have one, else by commits."""
    prints = then.get("code_fingerprint"), now.get("code_fingerprint")
    if all(prints) and prints[0] == prints[1]:
        return []
    commits = then.get("git_commit"), now.get("git_commit")
    if commits[0] and commits[1] and commits[0] != commits[1]:
        return [f"code: git diff {commits[0][:10]} {commits[1][:10]} shows what changed"]
    if all(prints):
        return ["code: files differ from those of that run" + (", at the same commit" if all(commits) else "")]
    if then.get("git_dirty") or now.get("git_dirty"):
        return ["code: files differ from their commit, then or now; whether they are the same is not known"]
    return [] if commits[0] and commits[1] else ["code: no commit is known of then or now"]


def horizon(folder: str | Path, trainer: Any) -> list[str]:
    """Whether that run headed for another end than this one, or for two: one that resume= moved (F46)."""
    folder, lines = Path(folder).expanduser(), []
    try:
        before = read_yaml(folder / ".hydra/config.yaml").get("trainer")
    except (OSError, ValueError):
        before = None
    follows = "schedules follow the planned end, so losses may differ from the first step on"
    for key in HORIZON:
        then = before.get(key) if isinstance(before, dict) else None
        now = trainer.get(key) if trainer else None
        if then != now:
            lines.append(f"trainer.{key}: {then} then, {now} now; {follows}")
        elif (first := _moved(typed_words(folder), f"trainer.{key}=")) is not None:
            lines.append(
                f"trainer.{key}: {first} at first, moved to {then} by resume=, and {now} all along now; {follows}"
            )
    return lines


def _moved(words: list[str], key: str) -> str | None:
    """What was typed for a key before it was typed again with resume=; None where it was not."""
    at = next((i for i, word in enumerate(words) if word.startswith("resume=")), len(words))
    early, late = ([w.removeprefix(key) for w in part if w.startswith(key)] for part in (words[:at], words[at:]))
    return (early[-1] if early else "the value of its files") if late and late[-1:] != early[-1:] else None


def outcome(then: Summary, results: Summary) -> list[str]:
    """Differences of what was read and of what came out."""
    lines = []
    for key, what in (("data_fingerprint", "data"), ("tokenizer_fingerprint", "tokenizer")):
        before, after = then.get(key), results.get(key)
        if before and after and before != after:
            lines.append(f"{what}: not the same as then ({str(before)[:12]} then, {str(after)[:12]} now)")
    before, after = then.get("metrics") or {}, results.get("metrics") or {}
    for name in RESULT:
        if name in before and name in after and then.get("step") == results.get("step"):
            if before[name] != after[name]:
                lines.append(f"{name}: {before[name]} then, {after[name]} now")
            break
    return lines


def told(folder: str, lines: list[str], *, same: str) -> str:
    """As words for the screen."""
    if not lines:
        return f"rerun   of {folder}: {same}"
    return "\n".join([f"rerun   of {folder}; not as it was then:", *(f"  {line}" for line in lines)])
