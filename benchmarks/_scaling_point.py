"""One point of benchmarks.scaling, in a process of its own: python -m benchmarks._scaling_point '{"n_embd": 256}'.

Prints as JSON the median seconds of an update, its arithmetic, and what memory is expected to follow.
"""

import json
import statistics
import sys
import time
from typing import Any

import psutil
import torch

from models.layers.moe.settings import MoESettings
from models.transformer import Transformer
from optimization.adamw import adamw

TOKENS = 2048  # of an update, whatever the context
BASE = {"n_layer": 4, "n_embd": 128, "seq_len": 128, "vocab_size": 256, "experts": 0}
HEAD_DIM, FF, ACTIVE = 32, 128, 2  # of a head; of an expert, and how many of them a token uses
LEAST_SECONDS, LEAST_UPDATES = 1.5, 5


def model_of(sizes: dict[str, int]) -> Transformer:
    torch.manual_seed(0)
    experts, width = sizes["experts"], sizes["n_embd"]
    moe = MoESettings(n_experts=experts, top_k=ACTIVE, ff=FF) if experts else None
    shape: dict[str, Any] = {key: value for key, value in sizes.items() if key != "experts"}
    return Transformer(**shape, n_head=width // HEAD_DIM, n_inner=3 * width, moe=moe)


def median_seconds(model: Transformer) -> float:
    """Of an update of TOKENS random tokens by AdamW, after one that warms up."""
    optimizer = adamw(model=model, lr=1e-4, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
    ids_BT = torch.randint(0, model.vocab_size, (TOKENS // model.seq_len, model.seq_len + 1))
    times: list[float] = []
    while sum(times[1:]) < LEAST_SECONDS or len(times) <= LEAST_UPDATES:
        start = time.perf_counter()
        out = model(ids_BT[:, :-1], targets_BT=ids_BT[:, 1:])
        (out.loss / TOKENS + sum(out.aux.values())).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def main(given: str) -> None:
    sizes = BASE | json.loads(given)
    before = psutil.Process().memory_info().rss
    model = model_of(sizes)
    found = {
        "seconds": median_seconds(model),
        "flops": model.flops_per_token(model.seq_len) * TOKENS,
        "parameters": model.parameter_counts()["total"],
        "activations": TOKENS * sizes["n_layer"] * sizes["n_embd"],
        "before": before,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1])
