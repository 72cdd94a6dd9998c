"""A frozen base and the learners that correct it: a language model like any other.

    G_0 = hidden states of the base          F_M = G_M W^T
    G_m = G_{m-1} + eta_m Delta_m            one product with the head, however many stages

In logit space every learner runs its own pass from block `start` on; the blocks below run once. In weight space the
stages' low-rank updates are added to one another, and there is one pass; that one can be merged into the base.

Shapes: B batch, T tokens, C channels, M stages.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from errors import RequestError
from models.base import LanguageModel
from models.boosting.choosing import by_text
from models.boosting.learners.base import Learner, UpperLearner
from models.boosting.learners.bias import Bias
from models.boosting.learners.lora import LoRA
from models.boosting.passes import Bend, Inputs, base_pass, upper_pass
from models.boosting.plan import Plan


class Boosted(LanguageModel):
    """Args:
    base: the model to correct; frozen here. learner: called with `base=`, once a stage. plan: settings.
    seed: learner m is drawn from (seed, m) alone, however many there will be.

    Buffers: `etas` (M,) steps, 0 where a stage was dropped; `closed`, stages whose step is decided.
    """

    learns_new_ids = False
    etas: Tensor
    closed: Tensor

    def __init__(self, *, base: LanguageModel, learner: Callable[..., Learner], plan: Plan, seed: int):
        super().__init__()
        self.base, self.plan = base.requires_grad_(False).eval(), plan
        self.vocab_size, self.seq_len, self.softcap = base.vocab_size, base.seq_len, base.softcap
        self.n_sink, self.n_ids = base.n_sink, base.n_ids
        self.has_cache = base.has_cache and not plan.by_text  # what each prefix foretold is not kept
        with torch.random.fork_rng(devices=[]):
            self.learners = nn.ModuleList(self._draw(learner, m, seed) for m in range(plan.stages)).eval()
        self.register_buffer("etas", torch.zeros(plan.stages, dtype=torch.float64))
        self.register_buffer("closed", torch.zeros((), dtype=torch.int64))
        starts = [m.start for m in self.learners if m.start is not None]
        self.start: int | None = min(starts) if starts else None  # type: ignore[type-var,assignment]
        # caches of keys and values: those of the base, then as many for each learner, and one for its own attention
        self.cache_layers = base.n_layer + 1
        self.n_layer = self.cache_layers * (plan.stages + 1)
        if plan.space == "weight" and not all(isinstance(m, LoRA) for m in self.learners):
            raise RequestError("gbft.space=weight adds low-rank updates: type learner=lora_top or learner=lora_full.")

    def _draw(self, learner: Callable[..., Learner], m: int, seed: int) -> Learner:
        torch.manual_seed(1_000_003 * seed + m)
        return Bias(base=self.base) if self.plan.bias_first and m == 0 else _of_stage(learner, m)(base=self.base)

    def train(self, mode: bool = True) -> "Boosted":
        super().train(mode)
        self.base.eval()  # no dropout: what is cached of it must stay true
        self.learners.eval()  # nor in stages that are done; see `in_training` for those that are not
        return self

    @contextmanager
    def in_training(self, learners: Sequence[nn.Module]) -> Iterator[None]:
        """These learners learn, and drop out what they are told to; what is computed now gives others no gradient."""
        others = [learner for learner in self.learners if all(learner is not chosen for chosen in learners)]
        for learner in learners:
            learner.train()
        for learner in others:
            learner.requires_grad_(False)
        try:
            yield
        finally:
            self.learners.eval().requires_grad_(True)

    # ---- the model's face --------------------------------------------------------------------------------------------

    @property
    def head(self) -> nn.Linear:
        return self.base.head

    def attention_flops_per_token(self, seq_len: int) -> int:
        return self.base.attention_flops_per_token(seq_len)

    def flops_per_token(self, seq_len: int) -> int:
        """Of the stage in training: its learner, the frozen blocks it runs through, and the frozen head.

        What the base and the stages before say is read from `RowStates`, which computes it once for all epochs.
        """
        m = min(int(self.closed), len(self.learners) - 1)
        learner: Any = self.learners[m]
        blocks = [] if learner.start is None else list(self.base.blocks)[learner.start :]  # type: ignore[arg-type]
        through = sum(p.numel() for block in blocks for p in block.parameters())
        attention = self.base.attention_flops_per_token(seq_len) * len(blocks) // self.base.n_layer
        own = sum(p.numel() for p in learner.parameters())
        return 6 * own + 4 * through + attention + self.head_flops_per_token()

    def head_flops_per_token(self) -> int:
        return 4 * self.head.weight.numel()

    @property
    def stages_in_use(self) -> int:
        """Up to which one; a list leaves some out. Raises RequestError if more are asked for than were trained."""
        closed, wanted = int(self.closed), self.plan.last_used
        if wanted is not None and wanted > closed:
            given = self.plan.use_stages
            raise RequestError(f"gbft.use_stages={given}: {closed} stages have been trained. Type {closed} or less.")
        return closed if wanted is None else wanted

    def trunk(
        self,
        ids_BT: Tensor,
        *,
        documents_BT: Tensor | None = None,
        padding_BT: Tensor | None = None,
        cache: Any = None,
        weights: list[Tensor] | None = None,
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """`weights`: takes the frozen base's attention weights."""
        context: dict[str, Any] = {"documents_BT": documents_BT, "padding_BT": padding_BT}
        counts = [*range(self.stages_in_use + 1)] if self.plan.by_text else [self.stages_in_use]
        found = self.prefixes(ids_BT, counts, cache=cache, weights=weights, **context)
        if self.plan.by_text:
            return by_text(found, ids_BT, self.head.weight, softcap=self.softcap, **context), {}
        return found[0], {}

    def prefixes(self, ids_BT: Tensor, counts: list[int], *, cache: Any = None, **context: Any) -> list[Tensor]:
        """G_m, (B, T, C), for each m of the ascending `counts`, out of one walk through the stages."""
        before = None if cache is None else (cache.length, cache.last_ids_BN)
        inputs = base_pass(self.base, self.start, ids_BT, cache=cache, **context)
        after = None if cache is None else (cache.length, cache.last_ids_BN)
        if self.plan.space == "weight":
            return [self.bent_state(inputs._replace(cache=View.of(cache, 0, before)), self.weights(m)) for m in counts]
        found, hidden, done = [], inputs.hidden_BTC, 0
        for count in counts:
            if self.plan.ensemble == "bagged":  # each learner's share depends on how many there are
                hidden, done = inputs.hidden_BTC, 0
            for m in range(done, count):
                if (eta := self.eta(m, of=count)) != 0:
                    view = View.of(cache, self.cache_layers * (m + 1), before)
                    hidden = hidden + eta * self.correction(m, inputs._replace(cache=view))
            done = max(done, count)
            found.append(hidden)
        if cache is not None and after is not None:
            cache.length, cache.last_ids_BN = after
        return found

    # ---- stages ------------------------------------------------------------------------------------------------------

    def eta(self, m: int, *, of: int) -> float:
        """Step of stage m (from 0) in an ensemble of `of`, 0 for one that is left out: the others do not notice.

        Bagged learners share the whole between them.
        """
        if self.plan.leaves_out(m):
            return 0.0
        if self.plan.ensemble == "bagged":
            return 1.0 / sum(not self.plan.leaves_out(j) for j in range(of))
        return float(self.etas[m])

    def correction(self, m: int, inputs: Inputs) -> Tensor:
        learner: Any = self.learners[m]
        return learner.correction(self.base, inputs)

    def inputs(self, ids_BT: Tensor, documents_BT: Tensor | None = None) -> Inputs:
        """What the base says, without gradient."""
        with torch.no_grad():
            return base_pass(self.base, self.start, ids_BT, documents_BT=documents_BT)

    def weights(self, count: int, *, current: float | None = None) -> list[float]:
        """Scale of each low-rank update in weight space: the steps of `count` stages, and of the one in training."""
        return [self.eta(m, of=count) for m in range(count)] + ([] if current is None else [current])

    def bent_state(self, inputs: Inputs, scales: list[float]) -> Tensor:
        """Weight space: final hidden states with the first updates added, each times its scale."""
        bends: dict[nn.Module, Bend] = {}
        for learner, scale in zip(self.learners, scales, strict=False):
            if scale != 0:
                assert isinstance(learner, UpperLearner)
                for layer, bend in learner.bends(self.base, scale).items():
                    bends[layer] = _both(bends[layer], bend) if layer in bends else bend
        if not bends:
            return inputs.hidden_BTC
        assert self.start is not None
        return upper_pass(self.base, self.start, inputs, bends)

    def accept(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Saved weights of an ensemble, perhaps of fewer stages, as those of this one."""
        own = self.state_dict()
        known = len(state.get("etas", ()))
        if known < self.plan.stages:
            etas = torch.cat([state["etas"], own["etas"][known:].cpu()])
            later = tuple(f"learners.{m}." for m in range(known, self.plan.stages))
            return state | {"etas": etas} | {name: v for name, v in own.items() if name.startswith(later)}
        return state

    # ---- as one plain model ------------------------------------------------------------------------------------------

    def merged(self) -> LanguageModel:
        """The base with everything learned in its own weights.

        Raises:
            RequestError: stages in logit space add up passes, which no single set of weights can do.
        """
        if self.plan.by_text:
            raise RequestError(
                "gbft.use_stages=by_text answers by other stages in each text, which no single set of weights can do.\n"
                "Type gbft.use_stages=1, or as many of the first stages as shall be merged."
            )
        count = self.stages_in_use
        active = [(m, self.eta(m, of=count)) for m in range(count) if self.eta(m, of=count) != 0]
        learners = [(self.learners[m], eta) for m, eta in active]
        alone = len(active) <= 1 and all(eta == 1.0 for _, eta in active)
        if not all(isinstance(m, LoRA) for m, _ in learners) or not (self.plan.space == "weight" or alone):
            raise RequestError(
                f"this ensemble cannot be merged into one model: its stages ({len(active)} in {self.plan.space} space) "
                "are passes that are added up.\n"
                "Train with gbft.space=weight learner=lora_top for one that can, or keep it as a run folder: "
                "init_from=RUN evaluates and generates with it."
            )
        model = copy.deepcopy(self.base)
        for learner, eta in learners:
            assert isinstance(learner, LoRA)
            learner.merge_into(model, eta)
        return model


class View:
    """A part of a cache of keys and values: learner's layers lie behind those of the base; all share its length."""

    @classmethod
    def of(cls, cache: Any, shift: int, state: tuple[int, Tensor | None] | None) -> "View | None":
        return None if cache is None or state is None else cls(cache, shift, state)

    def __init__(self, cache: Any, shift: int, state: tuple[int, Tensor | None]):
        self._cache, self._shift = cache, shift
        self.length, self.last_ids_BN = state

    def append(self, layer: int, k_BHTD: Tensor, v_BHTD: Tensor, capacity: int) -> tuple[Tensor, Tensor]:
        now, self._cache.length = self._cache.length, self.length  # the base has moved on already
        try:
            return self._cache.append(layer + self._shift, k_BHTD, v_BHTD, capacity)
        finally:
            self._cache.length = now

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def _of_stage(learner: Callable[..., Learner], m: int) -> Callable[..., Learner]:
    """The factory with the rank of stage m, where a list gives each stage its own; the last one serves those beyond."""
    ranks = getattr(learner, "keywords", {}).get("rank")
    return partial(learner, rank=ranks[min(m, len(ranks) - 1)]) if isinstance(ranks, list) and ranks else learner


def _both(first: Bend, second: Bend) -> Bend:
    return lambda x, output: second(x, first(x, output))
