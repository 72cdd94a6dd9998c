"""rerun=RUN: what is not as it was then (code, versions, data, tokenizer), and whether the result is the same (N5).

Code and versions are compared before the job starts; data and tokenizer are known when it is over.
"""

import json
from pathlib import Path
from typing import Any

Summary = dict[str, Any]
RESULT = ("val/loss", "val/bpb", "val/reward", "train/loss")  # the first that both runs have


def summary_of(folder: str | Path) -> Summary | None:
    """What that run wrote; None where nothing can be read."""
    file = Path(folder).expanduser() / "summary.json"
    try:
        return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else None
    except (OSError, ValueError, TypeError, RecursionError):
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
