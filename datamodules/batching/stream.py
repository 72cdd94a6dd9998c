"""Training on a stream that is larger than the disk: shuffled, divided over ranks and workers, resumed exactly.

Legend: T = seq_len, B = sequences in a micro-batch, A = micro-batches a step, K = windows in a block (shuffle_buffer),
S = parts of the stream, one for each worker of each rank.

A part reads whole files where their number divides by S, else every S-th document of all files: parts are disjoint
either way, and endless, so that no rank runs dry before another (N9). Its documents become one sequence of tokens, cut
into blocks of K windows; the windows of a block are dealt out in an order drawn from (seed, part, block).

The state of a part is seven integers: where its block began and how many windows of it are out. A resumed run reads the
block again, which takes a second or so, and nothing that was buffered can be lost or repeated (N17, S32, S33): a
shuffle buffer that is refilled one by one would have to be saved itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Protocol

import numpy as np
import torch

from batch import Batch
from datamodules.batching.permutation import permute
from datamodules.batching.windows import to_batch
from datamodules.preparing.split import text_hash
from datamodules.preparing.token_files import DTYPES, dtype_for
from datamodules.reading.ignored import Ignored
from errors import RequestError
from tokenization.base import Tokenizer


class Stream(Protocol):
    """Texts in files; a text is a document. Each file can be opened anywhere, in any process."""

    @property
    def name(self) -> str: ...

    @property
    def n_shards(self) -> int: ...

    @property
    def passed_over(self) -> Ignored: ...  # files that are not read

    def open(self, shard: int, skip: int, ignored: Ignored | None = None) -> Iterator[str]: ...  # counts what else is

    def fingerprint(self) -> str: ...


@dataclass(frozen=True)
class Cursor:
    """Before which document a part stands: document `at` of the epoch's file number `shard`, `index` of the epoch."""

    epoch: int = 0
    shard: int = 0
    at: int = 0
    index: int = 0


@dataclass(frozen=True)
class State:
    """Where a part is: in the block from token `offset` of the document at `cursor`, `dealt` windows of it out."""

    cursor: Cursor = Cursor()
    offset: int = 0
    block: int = 0
    dealt: int = 0

    def numbers(self) -> dict[str, int]:
        """Plain integers, for a checkpoint."""
        return {**asdict(self.cursor), "offset": self.offset, "block": self.block, "dealt": self.dealt}

    @classmethod
    def of(cls, numbers: dict[str, int]) -> State:
        cursor = Cursor(*(numbers[key] for key in ("epoch", "shard", "at", "index")))
        return cls(cursor, numbers["offset"], numbers["block"], numbers["dealt"])


@dataclass(frozen=True)
class Part:
    """Part `number` of `n_parts` of a stream. `held_out`: hashes of texts that validate and must not train."""

    stream: Stream
    number: int
    n_parts: int
    seed: int
    held_out: frozenset[int]
    shuffled: bool

    def documents(self, cursor: Cursor) -> Iterator[tuple[Cursor, str]]:
        """Texts from `cursor` on, without end, each with the cursor at which it is found again.

        Raises RequestError if a whole epoch has none for this part.
        """
        while True:
            found = False
            for here, text in self._epoch(cursor):
                found = True
                yield here, text
            if not found and cursor == Cursor(cursor.epoch):
                raise RequestError(
                    f"{self.stream.name} has no document for part {self.number + 1} of {self.n_parts}: fewer documents"
                    " than processes that read, or all of them validate.\nType data.workers=0, or less in"
                    " data.val_documents."
                )
            cursor = Cursor(cursor.epoch + 1)

    def _epoch(self, cursor: Cursor) -> Iterator[tuple[Cursor, str]]:
        shards = self._shards(cursor.epoch)
        by_file = len(shards) % self.n_parts == 0
        if by_file:
            shards = shards[self.number :: self.n_parts]
        index = cursor.index
        for i in range(cursor.shard, len(shards)):
            skip = cursor.at if i == cursor.shard else 0
            for at, text in enumerate(self.stream.open(int(shards[i]), skip), start=skip):
                mine = by_file or index % self.n_parts == self.number
                if mine and text and not (self.held_out and text_hash([text]) in self.held_out):
                    yield Cursor(cursor.epoch, i, at, index), text
                index += 1

    def _shards(self, epoch: int) -> np.ndarray:
        n = self.stream.n_shards
        return permute(np.arange(n), n, self.seed, epoch) if self.shuffled else np.arange(n)


class Blocks:
    """The tokens of a part, block by block. `state` is where the next window comes from."""

    def __init__(self, part: Part, tokenizer: Tokenizer, *, seq_len: int, windows: int, state: State):
        self.part, self.tokenizer, self.seq_len = part, tokenizer, seq_len
        self.size = windows if part.shuffled else 1
        self.dtype = DTYPES[dtype_for(tokenizer.vocab_size)]
        self.state = state
        self._documents = part.documents(state.cursor)
        self._ahead: deque[tuple[Cursor, np.ndarray]] = deque()  # documents that were read, the first one in part used
        self._block = self._read()

    def _read(self) -> np.ndarray:
        """(K, T + 1): the windows of the block that begins at `state`, in the order in which they are dealt."""
        K, T = self.size, self.seq_len
        have = sum(len(ids) for _, ids in self._ahead)
        while have - self.state.offset < K * T + 1:
            cursor, text = next(self._documents)
            ids = np.append(self.tokenizer.encode(text), self.tokenizer.eot).astype(self.dtype)
            self._ahead.append((cursor, ids))
            have += len(ids)
        self.state = replace(self.state, cursor=self._ahead[0][0])
        tokens = np.concatenate([ids for _, ids in self._ahead])[self.state.offset :]
        windows = np.lib.stride_tricks.sliding_window_view(tokens, T + 1)[: K * T : T]  # (K, T + 1)
        bits = np.random.Philox(key=self.part.seed, counter=[0, 0, self.state.block, self.part.number])
        return windows[np.random.Generator(bits).permutation(K)]

    def take(self, n: int) -> np.ndarray:
        """(n, T + 1): the next windows."""
        taken: list[np.ndarray] = []
        while n:
            if self.state.dealt == self.size:
                self._next_block()
            got = self._block[self.state.dealt : self.state.dealt + n]
            self.state = replace(self.state, dealt=self.state.dealt + len(got))
            taken.append(got)
            n -= len(got)
        return np.concatenate(taken)

    def _next_block(self) -> None:
        offset = self.state.offset + self.size * self.seq_len
        while self._ahead and offset >= len(self._ahead[0][1]):
            offset -= len(self._ahead.popleft()[1])
        self.state = State(self.state.cursor, offset, self.state.block + 1, 0)
        self._block = self._read()


class StreamSteps(torch.utils.data.IterableDataset[tuple[list[Batch], int, dict[str, int]]]):
    """Steps of one rank from `start_step` on: ([A] x (B, T), which worker's part it is from, that part's state after).

    Step k is made by worker k modulo their number, also after a resume.
    """

    def __init__(
        self,
        stream: Stream,
        tokenizer: Tokenizer,
        *,
        seq_len: int,
        batch_size: int,
        accumulate: int,
        rank: int,
        world_size: int,
        seed: int,
        shuffle_buffer: int,
        shuffled: bool,
        held_out: frozenset[int],
        eot: int | None,
        start_step: int,
        states: dict[int, dict[str, int]],
    ):
        self.stream, self.tokenizer, self.seq_len, self.seed = stream, tokenizer, seq_len, seed
        self.shape, self.rank, self.world_size = (accumulate, batch_size), rank, world_size
        self.shuffle_buffer, self.shuffled, self.held_out, self.eot = shuffle_buffer, shuffled, held_out, eot
        self.start_step, self.states = start_step, states

    def __iter__(self) -> Iterator[tuple[list[Batch], int, dict[str, int]]]:
        info = torch.utils.data.get_worker_info()
        process, processes = (0, 1) if info is None else (info.id, info.num_workers)
        worker = (process + self.start_step) % processes
        part = Part(
            self.stream, self.rank * processes + worker, self.world_size * processes, self.seed, self.held_out,
            self.shuffled,
        )  # fmt: skip
        state = State.of(self.states[worker]) if worker in self.states else State()
        blocks = Blocks(part, self.tokenizer, seq_len=self.seq_len, windows=self.shuffle_buffer, state=state)
        A, B = self.shape
        while True:
            windows = blocks.take(A * B)  # (A * B, T + 1)
            micros = [to_batch(windows[i * B : (i + 1) * B], eot=self.eot) for i in range(A)]
            yield micros, worker, blocks.state.numbers()
