"""What a checkpoint was made with: data and tokenizer by fingerprint, the model by its settings (F19).

They travel in the checkpoint. Whoever goes on with it compares them with what is there now.
"""

from collections.abc import Mapping
from typing import Any

from errors import RequestError

KEY = "made_with"
MadeWith = dict[str, Any]  # "data", "tokenizer": hex digests; "model": its section of the config
ALLOW = "allow_mismatch=true"


def differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What both know and what is not the same, one a line."""
    lines = [
        f"{part}: {str(then[part])[:12]} when the checkpoint was written, {str(now[part])[:12]} now"
        for part in ("data", "tokenizer")
        if then.get(part) and now.get(part) and then[part] != now[part]
    ]
    if then.get("model") and now.get("model"):
        before, after = _flat(then["model"]), _flat(now["model"])
        changed = [key for key in dict.fromkeys([*before, *after]) if before.get(key) != after.get(key)]
        lines += [f"model.{key}: {before.get(key)} then, {after.get(key)} now" for key in changed]
    return lines


def compare(checkpoint: Mapping[str, Any], now: Mapping[str, Any], *, where: object, allow: bool) -> list[str]:
    """The differences that are allowed, told; a checkpoint that knows nothing of itself is told too.

    Raises:
        RequestError: something differs, and that was not allowed.
    """
    if KEY not in checkpoint:
        print(f"{where} says nothing of its data and tokenizer (an earlier version wrote it): not compared")
        return []
    found = differences(checkpoint[KEY], now)
    listed = "".join(f"\n  {line}" for line in found)
    if found and not allow:
        raise RequestError(
            f"{where} was made with something else than what is here now:{listed}\n"
            f"Put back what it was, or type {ALLOW} to go on knowingly."
        )
    if found:
        print(f"warning: {where} was made with something else than what is here now:{listed}")
    return found


def _flat(tree: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(tree, Mapping):
        return {prefix.removesuffix("."): tree}
    return {name: value for key, inner in tree.items() for name, value in _flat(inner, f"{prefix}{key}.").items()}
