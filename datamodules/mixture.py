"""`data=mixture`: several texts, each with a weight: which share of the training windows comes from it.

In every `CYCLE` windows each source has its exact share, in an order drawn from (seed, cycle); within a source windows
follow one another as `sampling` says, so a small source with a large weight is seen several times, but no window twice
in an update while others of its source are unread. Which window comes when is a function of (seed, step): nothing to
save, nothing to lose. In shuffled sources of less than four updates' worth of windows, what an update holds hangs on
the one before it: these begin a new epoch every `RESTART` updates, finished or not, so that a look back ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np

from bounds import PositiveFloat
from datamodules.batching.permutation import permute
from datamodules.batching.windows import ORDERS, Order, SequentialOrder, ShuffleOrder
from datamodules.kinds.prepared import PreparedDataModule, rows_ignored
from datamodules.preparing.prepare import prepare_tokens
from datamodules.preparing.split import passed_over, plan_split
from datamodules.preparing.token_files import META, TokenFile, document_ends
from datamodules.preparing.token_folder import TokenFolder, open_folder
from datamodules.reading.ignored import Ignored
from datamodules.reading.sources import FileSource, file_source
from errors import RequestError
from tokenization.base import FILE_NAME, Tokenizer, digest, load_tokenizer

CYCLE = 10_000  # windows in which shares are exact
RESTART = 256  # updates after which a source of few windows begins anew
EXAMPLE = "data.paths='{web: web.jsonl, books: books/}' data.weights='{web: 3, books: 1}'"


class MixtureDataModule(PreparedDataModule):
    provides = ("tokens",)

    def __init__(
        self,
        *,
        paths: dict[str, str],
        weights: dict[str, PositiveFloat] | None = None,
        text_column: str = "text",
        separator: str | None = None,
        sampling: Literal["random", "shuffle", "sequential"] = "shuffle",
        **shared: Any,
    ):
        super().__init__(sampling=sampling, out=None, packing="concat", **shared)  # it has no packing, nor one folder
        if not paths:
            raise RequestError(f"data=mixture needs its sources: type {EXAMPLE}.")
        if weights is not None and (weights.keys() != paths.keys() or min(weights.values()) <= 0):
            raise RequestError(
                f"data.weights={weights}: expected a positive number for each of {', '.join(paths)}.\nType {EXAMPLE}."
            )
        self.paths, self.weights, self.text_column, self.separator = paths, weights, text_column, separator
        self.folders: dict[str, TokenFolder] = {}

    # Preparing ----------------------------------------------------------------------------------------------------

    def _token_folder(self) -> TokenFolder:
        """All sources as one sequence, one after the other; `MixtureOrder` jumps between them."""
        sources = {name: self._source(name, path) for name, path in self.paths.items()}
        self._passed_over = sum(map(passed_over, sources.values()), Ignored())
        tokenizer = self._trained([source for source in sources.values() if source is not None])
        self.folders = {name: self._folder_of(name, source, tokenizer) for name, source in sources.items()}
        for name, folder in self.folders.items():
            if len(folder.train) <= self.seq_len:
                raise RequestError(f"data.paths.{name}={self.paths[name]} is shorter than one window: leave it out.")
        return join(list(self.folders.values()), tokenizer)

    def _source(self, name: str, path: str) -> FileSource | None:
        """None for a folder of token files."""
        if (Path(path) / META).is_file():
            return None
        key = f"data.paths.{name}"
        return file_source(key, path, self.text_column, self.separator)

    def _trained(self, sources: list[FileSource]) -> Tokenizer:
        """The tokenizer; an untrained one is that of the token files among the sources, or learns from all, once."""
        if self.tokenizer.trained:
            return self.tokenizer
        if (made := self._tokenizer_of_folders()) is not None:
            return made
        fingerprints = [source.fingerprint() for source in sources]
        key = digest({"tokenizer": self.tokenizer.recipe, "sources": fingerprints, "val_fraction": self.val_fraction})
        folder = self.cache_dir / "tokenizers" / key[:16]
        if not (folder / FILE_NAME).is_file():
            self.tokenizer.train(
                piece
                for source in sources
                for side, document in plan_split(source, None, self.val_fraction).walk()
                if side == "train" or self.tokenizer.needs_whole_corpus
                for piece in document
            )
            self.tokenizer.save(folder)
        return load_tokenizer(folder)

    def _tokenizer_of_folders(self) -> Tokenizer | None:
        """The one that all folders of token files share. Raises RequestError: they differ, or are of another kind."""
        found = {n: load_tokenizer(Path(p)) for n, p in self.paths.items() if (Path(p) / FILE_NAME).is_file()}
        if not found:
            return None
        first, *others = found
        tokenizer = found[first]
        for name in others:
            if found[name].fingerprint != tokenizer.fingerprint:
                raise RequestError(
                    f"data.paths.{first} and data.paths.{name} were made by different tokenizers, so that their ids "
                    "mean different things.\nPrepare both with one: task=prepare, init_from=<a run folder> that has it."
                )
        if tokenizer.kind != self.tokenizer.kind:
            raise RequestError(
                f"data.paths.{first}={self.paths[first]} was made by a {tokenizer.kind} tokenizer, not by "
                f"tokenizer={self.tokenizer.kind}.\nType tokenizer={tokenizer.kind}, or prepare the text again."
            )
        return tokenizer

    def _folder_of(self, name: str, source: FileSource | None, tokenizer: Tokenizer) -> TokenFolder:
        if source is None:
            return open_folder(Path(self.paths[name]), tokenizer, self.cache_dir)
        folder, _ = prepare_tokens(
            source=source, val_source=None, tokenizer=tokenizer, val_fraction=self.val_fraction, target=self.target
        )
        return open_folder(folder, tokenizer, self.cache_dir)

    def _ends(self, side: Literal["train", "val"]) -> np.ndarray:
        ends, at = [], 0
        for folder in self.folders.values():
            tokens = getattr(folder, side)
            ends.append(document_ends(folder.path, side, tokens, self.tokenizer.eot) + at)
            at += len(tokens)
        return np.concatenate(ends)

    @property
    def source_names(self) -> list[str]:
        """What "source" in a validation batch counts."""
        return list(self.folders)

    def source_at(self, start: int) -> str:
        """The source in which token `start` of the training side lies."""
        ends = np.cumsum([len(folder.train) for folder in self.folders.values()])
        return self.source_names[int(np.searchsorted(ends, start, side="right"))]

    def _source_ends(self) -> np.ndarray:
        return np.cumsum([len(folder.val) for folder in self.folders.values()])

    # Mixing -------------------------------------------------------------------------------------------------------

    def order(self) -> MixtureOrder:
        sizes = [len(folder.train) for folder in self.folders.values()]
        weights = sizes if self.weights is None else [self.weights[name] for name in self.folders]
        parts = [ORDERS[self.sampling](n, self.seq_len, self.stride, self.seed + i) for i, n in enumerate(sizes)]
        return MixtureOrder(sum(sizes), self.seq_len, self.stride, self.seed, tuple(parts), quotas(weights))

    @property
    def ignored(self) -> dict[str, int]:
        """Of all sources together."""
        found = sum(map(rows_ignored, self.folders.values()), self._passed_over)
        return dict(found) | dict.fromkeys(self._means_nothing(), 1)

    @property
    def fingerprint(self) -> str:
        return digest({"folder": self.folder.fingerprint, "quotas": self.order().quotas})

    def describe(self) -> dict[str, Any]:
        order = self.order()
        sources = {
            name: {
                "tokens": len(folder.train),
                "documents": folder.meta["train"]["documents"],
                "share": order.quotas[i] / CYCLE,
            }
            for i, (name, folder) in enumerate(self.folders.items())
        }
        return super().describe() | {"sources": sources}

    def counted(self, step: int) -> dict[str, Any]:
        """Training tokens of each source in the first `step` steps, all ranks, and how often it was seen."""
        n = step * self.accumulate * self.world_size * self.batch_size
        windows = dict(zip(self.folders, self.order().dealt.counts(n), strict=True))
        return {
            name: {
                "tokens": windows[name] * self.seq_len,
                "epochs": round(windows[name] * self.seq_len / len(folder.train), 4),
            }
            for name, folder in self.folders.items()
        }


def join(folders: list[TokenFolder], tokenizer: Tokenizer) -> TokenFolder:
    """Several folders of the same tokenizer as one."""
    meta: dict[str, Any] = {
        "dtype": folders[0].meta["dtype"],
        "source": [folder.meta.get("source") for folder in folders],
    }
    sides = {}
    for side in ("train", "val"):
        sides[side] = TokenFile([path for folder in folders for path in getattr(folder, side).paths], meta["dtype"])
        totals = {key: sum(folder.meta[side][key] for folder in folders) for key in ("documents", "bytes")}
        meta[side] = totals | {"tokens": len(sides[side]), "sha256": digest({"of": [f.fingerprint for f in folders]})}
    return TokenFolder(folders[0].path.parent, sides["train"], sides["val"], tokenizer, meta)


def quotas(weights: list[float] | list[int]) -> tuple[int, ...]:
    """Windows of each source in a cycle: in proportion, by largest remainder, at least one each."""
    shares = np.array(weights, dtype=np.float64) / sum(weights) * CYCLE
    found = np.floor(shares)
    found[np.argsort(found - shares, kind="stable")[: CYCLE - int(found.sum())]] += 1
    for i in np.flatnonzero(found == 0):
        found[i] += 1
        found[found.argmax()] -= 1
    return tuple(int(n) for n in found)


@lru_cache(maxsize=16)
def deal(quotas: tuple[int, ...], seed: int, cycle: int) -> np.ndarray:
    """(CYCLE,) int64: the source of every window of a cycle."""
    return np.searchsorted(np.cumsum(quotas), permute(np.arange(CYCLE), CYCLE, seed, cycle), side="right")


@dataclass(frozen=True)
class Dealt:
    """How windows are dealt to the sources: `quotas` of each in a cycle."""

    quotas: tuple[int, ...]
    seed: int

    def sources(self, first: int, last: int) -> np.ndarray:
        """(last - first,) int64: the source of these windows of the run."""
        found = [np.empty(0, np.int64)]
        for cycle in range(first // CYCLE, -(-last // CYCLE)):
            here = slice(max(0, first - cycle * CYCLE), last - cycle * CYCLE)
            found.append(deal(self.quotas, self.seed, cycle)[here])
        return np.concatenate(found)

    def counts(self, n: int) -> list[int]:
        """Windows of each source among the first `n` of the run."""
        cycles = n // CYCLE
        rest = np.bincount(self.sources(cycles * CYCLE, n), minlength=len(self.quotas))
        return [cycles * quota + int(more) for quota, more in zip(self.quotas, rest, strict=True)]

    def window(self, source: int, number: int) -> int:
        """Which window of the run is window `number` of a source."""
        cycle, number = divmod(number, self.quotas[source])
        return cycle * CYCLE + int(np.flatnonzero(deal(self.quotas, self.seed, cycle) == source)[number])


@dataclass(frozen=True)
class UpdatesOfSource:
    """Updates of `n` windows of the run, as one source sees them: `Updates` of uneven sizes, at places + `shift`."""

    dealt: Dealt
    source: int
    n: int
    shift: int = 0

    def around(self, place: int) -> tuple[int, int]:
        return self.taken_at(self.dealt.window(self.source, place - self.shift) // self.n)

    def taken_at(self, step: int) -> tuple[int, int]:
        """First place, and the one behind the last, of update `step`."""
        first, last = (self.dealt.counts(k * self.n)[self.source] for k in (step, step + 1))
        return first + self.shift, last + self.shift


@dataclass(frozen=True)
class MixtureOrder(Order):
    """Starts in the sequence of all sources. `parts`: the order within each; `quotas`: windows of each in a cycle."""

    parts: tuple[Order, ...]
    quotas: tuple[int, ...]

    @property
    def dealt(self) -> Dealt:
        return Dealt(self.quotas, self.seed)

    def starts(self, step: int, n: int) -> np.ndarray:
        source = self.dealt.sources(step * n, (step + 1) * n)
        found, offset = np.empty(n, dtype=np.int64), 0
        for i, part in enumerate(self.parts):
            here = np.flatnonzero(source == i)
            if isinstance(part, SequentialOrder):
                updates = UpdatesOfSource(self.dealt, i, n, self._shift(i, step, n))
                found[here] = offset + part.at(*updates.taken_at(step), updates)
            else:
                found[here] = offset + part.starts(step, n)[here]
            offset += part.n_tokens
        return found

    def _shift(self, i: int, step: int, n: int) -> int:
        """What to add to places of source `i`, so that the update at which it last began anew begins an epoch."""
        N = self.parts[i].n_windows
        if not isinstance(self.parts[i], ShuffleOrder) or 4 * n * self.quotas[i] <= N * CYCLE:
            return 0
        restarts = step // RESTART
        first = self.dealt.counts(restarts * RESTART * n)[i]
        return (first // N + restarts) * N - first  # an epoch that was not begun before
