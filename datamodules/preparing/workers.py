"""Parts to ids, several at once: the same result whatever their number.

The main process reads, splits and cuts documents into parts; workers turn parts into ids; the main process takes the
results in the order of the parts. Workers are threads where the tokenizer encodes without Python's lock (tiktoken does,
and spends nine tenths of the time so), which start at once and share the text; otherwise, and where threads would be
too many for the rest, processes. A corpus of a few parts is encoded where it is read.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from itertools import chain, islice
from pathlib import Path
from types import ModuleType
from typing import Any

from datamodules.preparing.encoding import EncodedPart, Part, cut_parts, encode_part
from datamodules.preparing.overlap import sample_bits
from datamodules.preparing.split import Split
from errors import WorkerKilled
from tokenization.base import Tokenizer, load_tokenizer

MOST_THREADS = 8  # beyond, they would wait for Python's lock
FEW_PARTS = 4  # done before processes would have started


def encode_parts(
    split: Split, tokenizer: Tokenizer, folder: Path, *, workers: int | None, done: int
) -> Iterator[EncodedPart]:
    """The parts of `split` in their order. `folder` holds the tokenizer; the ids of the first `done` are not made.

    `workers`: how many parts at once; None: one per core; 0: in this thread.
    """
    parts = cut_parts(split, whole_documents=tokenizer.whole_documents)
    options: dict[str, Any] = {"add_eot": split.ends_documents, "bits": sample_bits(split.source.n_bytes)}
    head = list(islice(parts, FEW_PARTS + 1))
    workers = cores() if workers is None else workers
    if len(head) <= FEW_PARTS or workers == 0:
        for i, part in enumerate(chain(head, parts)):
            yield encode_part(part, tokenizer, split.source.name, **options, skip_ids=i < done)
        return
    pool, job = open_pool(tokenizer, folder, workers)
    waiting: deque[Future[EncodedPart]] = deque()
    try:
        for i, part in enumerate(chain(head, parts)):
            with nothing_to_import():
                waiting.append(pool.submit(job, part, source=split.source.name, **options, skip_ids=i < done))
            if len(waiting) > 2 * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool as error:
        raise WorkerKilled(
            "A process that encodes text was killed: most often for want of memory.\n"
            f"Type data.prepare_workers={max(0, workers // 2)}, then the same line again: what is done is kept."
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def open_pool(tokenizer: Tokenizer, folder: Path, workers: int) -> tuple[Executor, Callable[..., EncodedPart]]:
    """Threads or processes, and what they are to do with a part."""
    if tokenizer.encodes_in_threads and workers <= MOST_THREADS:
        return ThreadPoolExecutor(workers), partial(encode_part, tokenizer=tokenizer)
    spawn = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, spawn, initializer=start_worker, initargs=(folder,)), work


def cores() -> int:
    """Those that this process may use, where the system tells."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def nothing_to_import() -> Iterator[None]:
    """New processes import the program that was started, whatever it is; ours need only this module."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


_tokenizer: Tokenizer | None = None


def start_worker(folder: Path) -> None:
    """Once in each process: the tokenizer; signals are the main process's business, and so is living on without it."""
    global _tokenizer
    os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes are the parallelism here
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=end_with_parent, daemon=True).start()
    _tokenizer = load_tokenizer(folder)


def end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def work(part: Part, **options: Any) -> EncodedPart:
    assert _tokenizer is not None
    return encode_part(part, tokenizer=_tokenizer, **options)
