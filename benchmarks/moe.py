"""A layer of experts against a dense SwiGLU of equal active FLOPs and against transformers' blocks; whole steps, too.
Each step reads other tokens, so that experts get other numbers of them; in fp32, and in bf16 where a CPU is fast at it.

    python -m benchmarks.moe          # ratios of medians, measured in turn, so that a busy machine slows all alike
    python -m benchmarks.moe steps    # or layers: one half of it

`experts ms` are seconds of this thread's processor time where there is one thread, of the clock otherwise.
"""

import statistics
import sys
import time
from collections.abc import Callable
from itertools import cycle
from typing import Any

import torch
from torch import Tensor, nn

from models.layers.half_attention import is_fast
from models.layers.mlp import MLP
from models.layers.moe.layer import MoE
from models.layers.moe.settings import MoESettings
from models.transformer import Transformer
from optimization.adamw import adamw
from tasks.trainer import keep_freed_memory, settle_torch

TOKENS, WIDTH, REPEATS = 4096, 384, 7
SHAPES = ((8, 2, 1024, "0.92"), (64, 8, 128, "1.5, better 1.25"))
WAYS = ("fused", "loop", "grouped")


def clock() -> float:
    return time.thread_time() if torch.get_num_threads() == 1 else time.perf_counter()


def measured(steps: dict[str, Callable[[], Any]], repeats: int = REPEATS) -> dict[str, float]:
    """Median seconds of each, one after the other, again and again."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repeat in range(repeats + 1):
        for name, step in steps.items():
            start = clock()
            step()
            if repeat:  # the first warms up
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def forward_backward(layer: nn.Module, inputs: list[Tensor], gradient: Tensor, *, half: bool) -> Callable[[], None]:
    turn = cycle(inputs)

    def step() -> None:
        layer.zero_grad(set_to_none=True)
        x = next(turn).detach().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            y = layer(x)
        y = y[0] if isinstance(y, tuple) else y
        y.backward(gradient.to(y.dtype))

    return step


def experts_of(n_experts: int, top_k: int, ff: int, how: Any) -> MoE:
    torch.manual_seed(0)
    layer = MoE(MoESettings(n_experts=n_experts, top_k=top_k, ff=ff, dispatch=how), n_embd=WIDTH, dropout=0.0)
    nn.init.normal_(layer.router.weight, std=0.02)
    return layer


def mixtral(ours: MoE, how: str) -> nn.Module | None:
    """transformers' block with our weights, where the package is installed."""
    try:
        from transformers import MixtralConfig
        from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock
    except ImportError:
        return None
    s = ours.settings
    config = MixtralConfig(
        hidden_size=WIDTH, intermediate_size=s.ff, num_local_experts=s.n_experts, num_experts_per_tok=s.top_k
    )
    config._experts_implementation = how
    block = MixtralSparseMoeBlock(config)
    names = {"gate.weight": "router.weight", "experts.gate_up_proj": "w13", "experts.down_proj": "w2"}
    block.load_state_dict({theirs: ours.state_dict()[mine] for theirs, mine in names.items()})
    return block


def layers(*, half: bool) -> None:
    inputs = [torch.randn(1, TOKENS, WIDTH) for _ in range(REPEATS + 1)]
    gradient = torch.randn(1, TOKENS, WIDTH)
    for n_experts, top_k, ff, aim in SHAPES:
        dense = MLP(n_embd=WIDTH, n_inner=top_k * ff, kind="swiglu", bias=False, dropout=0.0)
        candidates: dict[str, nn.Module | None] = {"dense": dense}
        candidates |= {how: experts_of(n_experts, top_k, ff, how) for how in WAYS}
        ours = experts_of(n_experts, top_k, ff, "auto")
        candidates |= {f"transformers, {how}": mixtral(ours, how) for how in ("eager", "grouped_mm")}
        present = {name: layer for name, layer in candidates.items() if layer is not None}
        ways = {name: forward_backward(layer, inputs, gradient, half=half) for name, layer in present.items()}
        seconds = measured(ways)
        print(f"\n{n_experts} experts of {ff}, {top_k} per token: {TOKENS} tokens, width {WIDTH}, forward + backward, "
              f"{'bf16' if half else 'fp32'}")  # fmt: skip
        for name, value in seconds.items():
            print(f"  {name:<26}{value * 1e3:>8.0f} ms{value / seconds['dense']:>8.3f} of dense")
        best = min(WAYS, key=seconds.__getitem__)
        print(f"  fastest of ours: {best}, {seconds[best] / seconds['dense']:.3f} of dense (aim {aim})")


def steps(*, half: bool) -> None:
    """Updates of model=moe and of model=modern, which has as many parameters per token."""
    common: dict[str, Any] = {
        "vocab_size": 257, "seq_len": 128, "n_layer": 4, "n_head": 4, "n_kv_head": 2, "n_embd": 128, "n_inner": 384,
        "tied": True,
    }  # fmt: skip
    ids = torch.randint(0, 257, (12, 129))
    models = {
        "dense": Transformer(**common),
        "moe": Transformer(**common, moe=MoESettings(n_experts=8, top_k=2, ff=192)),
    }

    def update(model: Transformer) -> Callable[[], None]:
        optimizer = adamw(model=model, lr=1e-3, betas=[0.9, 0.99], eps=1e-8, weight_decay=0.1)

        def step() -> None:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                out = model(ids[:, :-1], targets_BT=ids[:, 1:])
            assert out.loss is not None
            loss = out.loss / ids[:, 1:].numel() + sum(out.aux.values())
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

        return step

    seconds = measured({name: update(model) for name, model in models.items()}, repeats=30)
    print(f"\nOne update of 12 x 128 tokens, equal active parameters, {'bf16' if half else 'fp32'}")
    for name, value in seconds.items():
        counts = models[name].parameter_counts()
        print(f"  {name:<8}{value * 1e3:>8.1f} ms   {counts['active']:,} of {counts['total']:,} parameters active")
    print(f"  ratio {seconds['moe'] / seconds['dense']:.3f} (aim 1.15)\n")


def main(parts: list[str]) -> None:
    settle_torch()
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)")
    keep_freed_memory()
    for half in (False, True) if is_fast() else (False,):
        if "layers" in parts or not parts:
            layers(half=half)
        if "steps" in parts or not parts:
            steps(half=half)


if __name__ == "__main__":
    main(sys.argv[1:])
