"""One token of each row read as a CUDA graph: the kernels of a step are sent to the GPU at once, not one by one.

A step of GPT-2 is 180 kernels, and from Python each costs more to send than to run: a GPU waits nine tenths of the
time. A graph runs the same kernels on the same memory again and again. So where tokens go stands in a tensor
(models/layers/cache.py, `Slot`), and attention looks at a fixed number of slots, of which a mask leaves out what is not
filled yet.

    steps 1 to 4     as always: rows that end soon, or come and go, are not worth it
    step 5           captured, and from here on replayed
    past SEEN slots  captured once more, with as many again

Shapes: B rows, V vocabulary.
"""

from functools import cache
from threading import Lock
from weakref import WeakSet

import torch
from torch import Tensor

from models.base import LanguageModel
from models.layers.cache import KVCache, Slot

PATIENCE = 4  # steps over the same memory before one is captured, which takes as long as several
SEEN = 512  # slots that attention looks at, or a multiple; not filled ones cost little
ONE_AT_A_TIME = Lock()  # a server writes with several models, each in a thread of its own
REFUSED: WeakSet[LanguageModel] = WeakSet()  # models of which no graph could be made, and will not be tried again


def is_capturable(model: LanguageModel) -> bool:
    """On a GPU, with nothing around its layers (FSDP, hooks) and nothing unusual in them (weights in 4 bits)."""
    if model.head.weight.device.type != "cuda" or not model.reads_slot or model.training or model in REFUSED:
        return False
    plain = all(type(p) is torch.nn.Parameter and p.is_floating_point() for p in model.parameters())
    return plain and not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


class Captured:
    """Steps over one cache; another layout of its memory begins anew. The weights must stay where they are."""

    def __init__(self, model: LanguageModel):
        self.model = model
        self.memory: Tensor | None = None  # of the cache, over which the steps were
        self.steps = 0
        self.used: list[int] = []  # of the step before
        self.made: _Step | None = None
        self.has_room = True

    @torch.no_grad()
    def step(self, token_B: Tensor, cache: KVCache, used: list[int]) -> Tensor | None:
        """Logits (B, V) after these tokens, which are in the cache then; None where the plain way is to be taken.

        `used`: tokens in the window of each row, the new one among them.
        """
        if self.memory is not cache.memory:
            # the same rows in more memory, as a server gives them, have shown their patience
            grown = self.made is not None and used == [n + 1 for n in self.used]
            self.memory, self.steps, self.made = cache.memory, PATIENCE if grown else 0, None
        self.steps, self.used = self.steps + 1, list(used)
        if self.steps <= PATIENCE or self.memory is None or not self.has_room or self.model in REFUSED:
            return None
        seen = min(-(-(cache.length + 1) // SEEN) * SEEN, self.memory.shape[2])
        where = torch.tensor([cache.length, *(cache.length + 1 - n for n in used)])
        if self.made is None or self.made.slot.seen != seen:
            self.made = self._captured(token_B, cache, where, seen)
        if self.made is None:
            return None
        self.made.put(token_B, where)
        logits_BV = self.made.run()
        cache.length += 1
        return logits_BV

    def _captured(self, token_B: Tensor, cache: KVCache, where: Tensor, seen: int) -> "_Step | None":
        """None where it cannot be: the text goes on as it did."""
        cache.clear_rest()
        made = _Step(self.model, cache, len(token_B), seen, token_B.device)
        made.put(token_B, where)
        try:
            made.capture()
            return made
        except torch.OutOfMemoryError:  # memory that PyTorch keeps for later is not given to graphs
            torch.cuda.empty_cache()
            self.has_room = False
        except RuntimeError as error:
            print(f"text    without a CUDA graph, which could not be made: {f'{error}'[:100]!r}", flush=True)
            REFUSED.add(self.model)
        return None


class _Step:
    """The tensors that a graph reads and writes, and the graph."""

    def __init__(self, model: LanguageModel, cache: KVCache, rows: int, seen: int, device: torch.device):
        self.model, self.cache = model, cache
        self.token_B1 = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self.where = torch.zeros(1 + rows, dtype=torch.long, device=device)
        self.slot = Slot(self.where[:1], self.where[1:], seen)
        self.logits_BV: Tensor | None = None
        self.graph: torch.cuda.CUDAGraph | None = None

    def put(self, token_B: Tensor, where: Tensor) -> None:
        self.token_B1.copy_(token_B.unsqueeze(1))
        self.where.copy_(where)

    def run(self) -> Tensor:
        if self.graph is None:
            return self._read()
        with ONE_AT_A_TIME:
            self.graph.replay()
            assert self.logits_BV is not None
            return self.logits_BV.clone()  # the next step writes over them

    def capture(self) -> None:
        """On another stream, and after a run there, in which libraries set up what they need.

        Where autocast is on, weights are cast within the graph: those that it has kept may be gone when it runs.
        """
        if not self.token_B1.is_cuda:
            return
        stream, first = _aside(self.token_B1.device)
        autocast = torch.autocast(
            "cuda", torch.get_autocast_dtype("cuda"), torch.is_autocast_enabled("cuda"), cache_enabled=False
        )
        graph = torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        try:
            with ONE_AT_A_TIME, torch.cuda.stream(stream), autocast:
                self._read()
                graph.capture_begin(first.pool(), capture_error_mode="thread_local")  # others fetch batches meanwhile
                try:
                    self.logits_BV = self._read()
                finally:
                    graph.capture_end()
        finally:
            torch.cuda.current_stream().wait_stream(stream)
        self.graph = graph

    def _read(self) -> Tensor:
        length, self.cache.slot = self.cache.length, self.slot
        try:
            return self.model(self.token_B1, cache=self.cache, logits="last").logits[:, -1]
        finally:
            self.cache.length, self.cache.slot = length, None


@cache
def _aside(device: torch.device) -> tuple[torch.cuda.Stream, torch.cuda.CUDAGraph]:
    """The stream on which all are captured, and a first graph, of next to nothing, whose memory the others share.

    A new stream each time would get a workspace of cuBLAS for good, and a graph that is gone keeps its memory to itself
    until there is no other. Graphs that share memory must not run at once, nor read what another one left: so each
    result is copied before the next one runs.
    """
    stream, graph, one = torch.cuda.Stream(device), torch.cuda.CUDAGraph(), torch.zeros(1, device=device)
    stream.wait_stream(torch.cuda.current_stream(device))
    with torch.cuda.stream(stream):
        graph.capture_begin(capture_error_mode="thread_local")
        one.add_(1)
        graph.capture_end()
    return stream, graph
