"""The words of the command line: `group=option`, `key=value`, `~key`, each as one Override.

Hydra's grammar is kept, with one courtesy: a value that it cannot read (a path with `=`, a prompt with a comma or an
apostrophe) is taken as text, so that nobody has to quote twice.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Quote, QuotedString
from hydra.core.override_parser.types import Override as HydraOverride
from hydra.errors import HydraException

from commands import run_py
from errors import RequestError
from launcher.help.words import cut, listing, nearest
from launcher.lab import Lab

MOST_JOBS = 2_000  # of one sweep: all of them are checked before the first starts
# a comma inside quotes, braces or parentheses belongs to the element
ELEMENT = re.compile(r"""(?:"[^"]*"|'[^']*'|\{[^}]*\}|\([^)]*\)|[^,])+""")
QUOTED = re.compile(r"""^["']|["']$""")
FORM = re.compile(r"(?P<sign>\+\+|\+|~)?(?P<key>[A-Za-z_][\w./@-]*)(?:=(?P<value>.*))?", re.DOTALL)


@dataclass(frozen=True)
class Override:
    """One word of the command line. `text` is what Hydra reads; `raw` the value as it was typed."""

    typed: str
    text: str
    key: str
    raw: str
    deletes: bool
    parsed: HydraOverride

    @property
    def is_hydra(self) -> bool:
        return self.key.startswith(("hydra.", "hydra/"))

    @property
    def is_sweep(self) -> bool:
        return self.parsed.is_sweep_override()

    @property
    def value(self) -> Any:
        return self.parsed.value()

    @property
    def text_value(self) -> str:
        """The value as text, also where Hydra reads a number or a list: run_dir=2024."""
        return self.value if isinstance(self.value, str) else self.raw


def parse(words: Iterable[str], lab: Lab, *, multirun: bool) -> list[Override]:
    """Reads the words; with `multirun`, commas and ranges mean several values, otherwise they are text.

    Raises:
        RequestError: a word is not of the form key=value.
    """
    parser = OverridesParser.create()
    overrides = []
    for word in words:
        try:
            word.encode("utf-8")
            overrides.append(_parse_one(word, parser, lab, multirun))
        except UnicodeEncodeError:
            raise RequestError(f"{cut(word)} is not valid UTF-8: a byte of it stands for no character.") from None
        except RecursionError:
            raise RequestError(f"{cut(word)}: brackets within brackets, too many to read.") from None
        except ValueError:
            raise RequestError(f"{cut(word)}: a number with too many digits.") from None
    return overrides


def overruled(words: Iterable[str]) -> list[tuple[str, str]]:
    """(a word that changes nothing, a later one of the same key that is taken), both cut for a message."""
    words = list(words)
    last = {FORM.fullmatch(word)["key"]: word for word in words if FORM.fullmatch(word)}  # type: ignore[index]
    pairs = [(word, last[match["key"]]) for word in words if (match := FORM.fullmatch(word))]
    return [(cut(word), cut(later)) for word, later in pairs if word.lstrip("+") != later.lstrip("+")]


def count_jobs(overrides: Iterable[Override]) -> int:
    """Jobs of a grid: the product of how many values each word has.

    Raises:
        RequestError: more than can be meant.
    """
    jobs = 1
    for o in overrides:
        if o.parsed.is_discrete_sweep():
            jobs *= max(1, sum(1 for _ in islice(o.parsed.sweep_string_iterator(), MOST_JOBS + 1)))
            if jobs > MOST_JOBS:
                raise RequestError(
                    f"{cut(o.typed)}: more than {MOST_JOBS:,} jobs. Give fewer values, or several sweeps."
                )
    return jobs


def is_group(key: str, lab: Lab) -> bool:
    return key in lab.groups or key.startswith("hydra/")


def _parse_one(word: str, parser: OverridesParser, lab: Lab, multirun: bool) -> Override:
    match = FORM.fullmatch(word)
    if match is None or (match["value"] is None and match["sign"] != "~"):
        raise RequestError(_not_a_pair(word, lab))
    sign, key, raw = match["sign"] or "", match["key"], match["value"] or ""
    sign = sign if sign == "~" or key.startswith("hydra.") else ""  # + and ++ say nothing here: keys are known or not
    text = f"{sign}{key}" if match["value"] is None else f"{sign}{key}={raw}"
    try:
        parsed = parser.parse_override(text)
        if parsed.is_sweep_override() and not multirun and not is_group(key, lab):
            raise HydraException("several values")
        if raw != raw.strip() and not parsed.is_sweep_override() and isinstance(parsed.value(), str):
            raise HydraException("Hydra would drop the spaces at the ends: prompt='The '")
    except HydraException:
        text = f"{sign}{key}={_listed(raw) or _quoted(raw)}"
        try:
            parsed = parser.parse_override(text)
        except HydraException:  # then it is the key: two dots side by side, a letter of another alphabet
            raise RequestError(f"{cut(word)}: {cut(key)} is not the name of a key.") from None
    if isinstance(parsed.value(), Glob):
        text = f"{key}={','.join(_globbed(word, key, parsed.value(), lab))}"
        parsed = parser.parse_override(text)
    return Override(word.lstrip("+"), text, key, raw, sign == "~", parsed)


def _globbed(word: str, key: str, glob: Any, lab: Lab) -> list[str]:
    """The options that `glob(...)` stands for, which Hydra asks a loader of its own for."""
    if found := glob.filter(list(lab.groups.get(key, ()))):
        return [*found]
    raise RequestError(
        f"{cut(word)}: glob(...) chooses among the options of a group, and finds none."
        + (f"\nOptions: {listing(lab.groups[key])}." if key in lab.groups else "")
    )


def _quoted(text: str) -> str:
    return QuotedString(text=text, quote=Quote.single).with_quotes()


def _listed(raw: str) -> str | None:
    """A list whose elements Hydra cannot read as they are, [https://a.org/?q=1,/b{2,3}], each as text; or None."""
    inner = raw.strip()
    if len(inner) < 3 or inner[0] != "[" or inner[-1] != "]" or "[" in inner[1:-1]:
        return None
    elements = [element.strip() for element in ELEMENT.findall(inner[1:-1])]
    return f"[{','.join(_quoted(re.sub(QUOTED, '', e)) for e in elements if e)}]"


def _not_a_pair(word: str, lab: Lab) -> str:
    close = nearest(word.lstrip("-"), ["help", *lab.groups, *lab.groups.get("task", {})])
    hint = ""
    if close == "help":
        hint = f"\nType: {run_py('--help')}"
    elif close in lab.groups.get("task", {}):
        hint = f"\nType: task={close}"
    elif close is not None:
        hint = f"\nType: {close}=... with one of: {listing(lab.groups[close])}"
    return f'"{word}" is not of the form group=option or key=value.{hint}'
