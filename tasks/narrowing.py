"""`generate.weights`: each token reads fewer bytes of weights (models/layers/narrow.py); what that changes is said.

Of `generate.draft_weights` there is nothing to say: the text is distributed as the model's alone.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from models.base import LanguageModel
from models.continuous import prompt_logprobs
from models.generation import evaluating
from models.layers.narrow import PARTS, Kind, NarrowLinears
from models.speculative import Draft

Text = tuple[Sequence[int], Sequence[int]]  # ids of a prompt, and of what was written behind it


def narrowed(
    kind: Kind | None, model: LanguageModel, draft: Draft | None = None, draft_kind: Kind | None = None
) -> NarrowLinears | None:
    """Narrow weights in the place of the model's own, and of the draft's, from here on; nothing without a kind.

    Args:
        draft_kind: of the draft; None is `kind`.

    Raises:
        RequestError: an encoder-decoder; a model that is not on a CPU in fp32; no C compiler; `draft_kind`, no draft.
    """
    if draft is not None and (of_draft := draft_kind or kind) is not None:
        NarrowLinears(draft.model, of_draft).put()
        draft.lighter = bytes_each(of_draft) / bytes_each(kind)
    elif draft_kind is not None:
        raise RequestError(f"generate.draft_weights={draft_kind} is of generate.draft. Type generate.draft=RUN.")
    if kind is None:
        return None
    layers = NarrowLinears(model, kind)
    layers.put()
    return layers


def bytes_each(kind: Kind | None) -> int:
    """Of a weight; None is fp32."""
    return 4 if kind is None else 4 // PARTS[kind]


def tell(layers: NarrowLinears | None, model: LanguageModel, texts: Sequence[Text], run: RunFolder) -> None:
    """Says on the screen and in summary.json by how much the log-probabilities of what was written are off."""
    if layers is None:
        return
    off_N = torch.cat([torch.zeros(0), *(difference(layers, model, *text) for text in texts)]).abs()
    facts: dict[str, Any] = {"kind": layers.kind, "bytes_each": bytes_each(layers.kind), "narrow": layers.weights}
    facts |= {"of": model.parameter_counts()["total"], "tokens": len(off_N)}
    said = f"{layers.kind} weights ({facts['narrow']:,} of {facts['of']:,} parameters)"
    if len(off_N):
        facts |= {"logprob_difference_mean": float(off_N.mean()), "logprob_difference_max": float(off_N.max())}
        said += f": log-probabilities of the {len(off_N)} tokens written differ from those by full weights by "
        said += f"{facts['logprob_difference_mean']:.2g} on average, {facts['logprob_difference_max']:.2g} at most"
    print(said)
    run.results["weights"] = facts


def difference(layers: NarrowLinears, model: LanguageModel, prompt: Sequence[int], new: Sequence[int]) -> Tensor:
    """(N,) log-probabilities of the new tokens by narrow weights, less those by full ones.

    Both are of one pass over the text, at temperature 1, whatever was drawn from. Of a text longer than the context,
    its end counts, read by itself.
    """
    ids = [*prompt, *new][-model.seq_len :]
    count = min(len(new), len(ids) - 1)
    narrow_T = _logprobs(model, ids)
    layers.take_away()
    try:
        full_T = _logprobs(model, ids)
    finally:
        layers.put()
    return (narrow_T - full_T)[len(ids) - 1 - count :]


def _logprobs(model: LanguageModel, ids: Sequence[int]) -> Tensor:
    """Of each token but the first."""
    with evaluating(model):
        told = prompt_logprobs(model, ids, top=0)
    return torch.tensor([token.logprob for token in told if token is not None])
