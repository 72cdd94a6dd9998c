"""Forward passes through a frozen base model that start in the middle, or bend a layer on the way.

Written against what every model here has: `blocks`, a ModuleList whose members take the hidden states first, and
`trunk`. So a new architecture needs nothing for boosting.

Shapes: B batch, T tokens, C channels.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

from torch import Tensor, nn

from models.base import LanguageModel

Bend = Callable[[Any, Tensor], Tensor]  # (input of a layer, its output) -> another output


class Inputs(NamedTuple):
    """What a learner reads. `mid_BTC`: hidden states that enter the block from which it runs, if it runs blocks."""

    ids_BT: Tensor
    hidden_BTC: Tensor  # of the base, after its final norm
    mid_BTC: Tensor | None
    documents_BT: Tensor | None = None
    padding_BT: Tensor | None = None
    cache: Any = None
    extras: int = 0  # what blocks return beside hidden states (routing, attention weights)


class _Given(nn.Module):
    """Stands for a block whose output is known; what is asked of it otherwise, the block answers."""

    def __init__(self, block: nn.Module, output_BTC: Tensor, extras: int):
        super().__init__()
        self.output, self.extras = output_BTC, extras
        self.__dict__["stands_for"] = block  # not as a submodule

    def forward(self, *_: Any, **__: Any) -> Any:
        return (self.output, *[None] * self.extras) if self.extras else self.output

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["stands_for"], name)


def base_pass(
    base: LanguageModel,
    start: int | None,
    ids_BT: Tensor,
    *,
    documents_BT: Tensor | None = None,
    padding_BT: Tensor | None = None,
    cache: Any = None,
    weights: list[Tensor] | None = None,
) -> Inputs:
    """The whole base; keeps what enters block `start` (None: nothing). `weights` takes its attention weights."""
    kept: list[Tensor] = []
    extras: list[int] = [0]
    blocks: Any = base.blocks
    with ExitStack() as stack:
        if start is not None:
            handle = blocks[start].register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0]))
            stack.callback(handle.remove)
        count = blocks[0].register_forward_hook(lambda _, inputs, output: extras.append(_extras(output)))
        stack.callback(count.remove)
        hidden = base.trunk(ids_BT, documents_BT=documents_BT, padding_BT=padding_BT, cache=cache, weights=weights)[0]
    return Inputs(ids_BT, hidden, kept[0] if kept else None, documents_BT, padding_BT, cache, extras[-1])


def upper_pass(base: LanguageModel, start: int, inputs: Inputs, bends: dict[nn.Module, Bend]) -> Tensor:
    """Final hidden states from block `start` on, with some layers' outputs bent; no parameter is touched."""
    assert inputs.mid_BTC is not None
    blocks = list(base.blocks)  # type: ignore[arg-type]
    lower = [_Given(block, inputs.mid_BTC, inputs.extras) for block in blocks[:start]]
    with replaced_blocks(base, [*lower, *blocks[start:]]), bent(bends):
        return base.trunk(
            inputs.ids_BT, documents_BT=inputs.documents_BT, padding_BT=inputs.padding_BT, cache=inputs.cache
        )[0]


def _extras(output: Any) -> int:
    return len(output) - 1 if isinstance(output, tuple) else 0


@contextmanager
def replaced_blocks(base: LanguageModel, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """In the list itself: a wrapped model of others reads its own, whatever `base.blocks` is set to."""
    places: dict[str, Any] = base.blocks._modules  # type: ignore[union-attr]
    before = dict(places)
    places.update(zip(before, blocks, strict=True))
    try:
        yield
    finally:
        places.update(before)


@contextmanager
def bent(bends: dict[nn.Module, Bend]) -> Iterator[None]:
    with ExitStack() as stack:
        for layer, bend in bends.items():
            handle = layer.register_forward_hook(lambda _, inputs, output, bend=bend: bend(inputs[0], output))
            stack.callback(handle.remove)
        yield
