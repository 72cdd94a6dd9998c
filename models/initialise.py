"""First weights of a Transformer.

Shapes: (out, in) of a matrix; stacked experts (E, out, in).
"""

import math
from typing import Literal

from torch import nn

from models.base import LanguageModel


def initialise(model: LanguageModel, *, rule: Literal["gpt2", "nanochat"], std: float, router_std: float) -> None:
    """What a rule does not name stays as its module made it: gains 1, sinks and the router's noise 0.

    gpt2: normal(std), what writes to the stream / sqrt(2 n_layer) (GPT-2, section 2.3).
    nanochat: embedding normal(1), what reads the stream normal(min(1, sqrt(out / in)) / sqrt(in)) (muP's spectral
    condition, 2310.17813), what writes to it, and an untied head, 0.
    Gates and value embeddings begin as nanochat has them under both.
    """
    for name, p in model.named_parameters():
        if name.endswith("bias"):
            nn.init.zeros_(p)
        if p.dim() < 2 or name.endswith(".noise"):
            continue
        if name.endswith(("value_gate.weight", "smear_gate.weight")):
            nn.init.uniform_(p, 0.0, 0.02)  # nanochat: gates begin a little above half open
            continue
        if name.startswith("value_embeds."):
            nn.init.normal_(p, std=model.head.in_features**-0.5)  # as the values that they are added to
            continue
        writes = name.endswith(("attention.proj.weight", "down.weight", "w2"))
        if name.endswith("router.weight"):
            nn.init.normal_(p, std=router_std)
        elif rule == "gpt2":
            nn.init.normal_(p, std=std / math.sqrt(2 * model.n_layer) if writes else std)
        elif writes or name == "lm_head.weight":
            nn.init.zeros_(p)
        elif isinstance(model.get_submodule(name.rpartition(".")[0]), nn.Embedding):
            nn.init.normal_(p, std=1.0)
        else:
            outputs, inputs = p.shape[-2:]
            nn.init.normal_(p, std=min(1.0, math.sqrt(outputs / inputs)) / math.sqrt(inputs))
