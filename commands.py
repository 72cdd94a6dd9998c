"""Commands as they are printed for people to copy: each word quoted, so that a shell reads what was meant (F21)."""

import re
import shlex


def run_py(*words: object) -> str:
    """`python run.py ...`, safe to paste whatever is in a path."""
    return shell("python", "run.py", *words)


def shell(*words: object) -> str:
    """Any command. A word that is no path or value of the user's, such as `<folder>`, is added by the caller."""
    return shlex.join(str(word) for word in words)


def word(text: object) -> str:
    """One word of a command line: key=value, or a path."""
    return shlex.quote(str(text))


def hydra_text(text: object, *, always: bool = False) -> str:
    """A text as a value that Hydra's grammar reads back, whatever is in it; plain names as they are."""
    if not always and re.fullmatch(r"[\w./-]+", str(text)):
        return str(text)
    inside = re.sub(r"(\\*)'", r"\1\1\\'", str(text))  # backslashes count where a quote follows
    ends_with = len(inside) - len(inside.rstrip("\\"))
    return f"'{inside}{chr(92) * ends_with}'"
