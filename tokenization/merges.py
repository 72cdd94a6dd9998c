"""What a BPE learned, to look at: its merges in order, how often each is made, and the first words that it builds.

Counting needs no second training. A merged token is either left in the end or goes into a later merge, so, from the
last merge to the first: times made = times left in the encoded text + times made of all merges that take it.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from errors import RequestError
from strict_json import value_of

N_BYTES = 256
N_WORDS = 3  # examples of each
COUNT_BYTES = 1 << 22  # of the sample that are counted; half a second
COUNT_S = 30.0  # for one text
HEADER = "id\tleft\tright\ttimes\ttoken\twords"


class Merge(NamedTuple):
    """One line of the view. `times`: how often this merge is made in the text that was counted; `words`: the most
    frequent of the words in which it is."""

    id: int
    left: int
    right: int
    times: int
    token: str
    words: tuple[str, ...]


def words_of(texts: Iterable[str], pattern: str) -> Counter[str]:
    """How often each word, as `pattern` splits them, is in the first `COUNT_BYTES` of `texts`.

    Raises:
        RequestError: a pattern that takes longer than COUNT_S for one text, since it tries every way to divide it.
    """
    import regex

    words: Counter[str] = Counter()
    room = COUNT_BYTES
    find = regex.compile(pattern).findall
    for text in texts:
        try:
            words.update(find(text[:room], timeout=COUNT_S))
        except TimeoutError:
            raise RequestError(
                f"tokenizer.pattern={pattern!r:.200}: {COUNT_S:g} s were not enough to split a text of {len(text):,}"
                " characters.\nWrite it without a repetition inside a repetition, or type tokenizer.pattern=gpt4."
            ) from None
        room -= len(text)
        if room <= 0:
            break
    return words


def describe_merges(
    pairs: Sequence[tuple[int, int]], words: Counter[str], encode: Callable[[str], Sequence[int]]
) -> list[Merge]:
    """Every merge with its count and its first words. `encode` gives the ids of one word."""
    times, shown = [0] * (N_BYTES + len(pairs)), [[] for _ in range(N_BYTES + len(pairs))]  # type: ignore[var-annotated]
    for word, count in sorted(words.items(), key=lambda item: (-item[1], item[0])):
        ids = encode(word)
        for i in ids:
            times[i] += count
        for i in inside(ids, pairs):
            if len(shown[i]) < N_WORDS:
                shown[i].append(word)
    tokens = [bytes([byte]) for byte in range(N_BYTES)]
    for left, right in pairs:
        tokens.append(tokens[left] + tokens[right])
    for i in reversed(range(N_BYTES, len(times))):
        left, right = pairs[i - N_BYTES]
        times[left] += times[i]
        times[right] += times[i]
    return [
        Merge(i, *pairs[i - N_BYTES], times[i], tokens[i].decode("utf-8", errors="replace"), tuple(shown[i]))
        for i in range(N_BYTES, len(times))
    ]


def inside(ids: Iterable[int], pairs: Sequence[tuple[int, int]]) -> set[int]:
    """All merges that are made on the way to `ids`."""
    found: set[int] = set()
    open_ids = list(ids)
    while open_ids:
        i = open_ids.pop()
        if i >= N_BYTES and i not in found:
            found.add(i)
            open_ids += pairs[i - N_BYTES]
    return found


def to_tsv(merges: Iterable[Merge]) -> str:
    """One merge a line; text as JSON writes it, so that blanks and line ends can be seen and read back."""
    lines = [
        f"{m.id}\t{m.left}\t{m.right}\t{m.times}\t{json.dumps(m.token, ensure_ascii=False)}\t"
        f"{json.dumps(list(m.words), ensure_ascii=False)}"
        for m in merges
    ]
    return "\n".join([HEADER, *lines]) + "\n"


def from_tsv(text: str) -> list[Merge]:
    """Raises ValueError where it is something else."""
    lines = text.split("\n")
    if lines[0] != HEADER:
        raise ValueError(f"expected the columns {HEADER!r}")
    found = []
    for line in lines[1:-1]:
        i, left, right, times, token, words = line.split("\t")
        found.append(Merge(int(i), int(left), int(right), int(times), value_of(token), tuple(value_of(words))))
    return found


def table(merges: Sequence[Merge], rows: int = 40) -> list[tuple[str, str, str, str, str]]:
    """Rows for a terminal or a page: number, id, token, times, words; the first merges, then the last ones."""
    head = rows - rows // 4
    chosen = list(merges) if len(merges) <= rows else [*merges[:head], *merges[len(merges) - rows // 4 :]]
    return [
        (f"{m.id - N_BYTES + 1:,}", f"{m.id:,}", json.dumps(m.token, ensure_ascii=False), f"{m.times:,}",
         " ".join(json.dumps(word, ensure_ascii=False) for word in m.words))
        for m in chosen
    ]  # fmt: skip
