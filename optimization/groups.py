"""Which parameter plays which part: optimizers treat them differently.

Decided by module, not by name: what an nn.Embedding owns is an embedding in any model.
"""

from typing import Literal

from torch import nn

Role = Literal["embedding", "unembedding", "matrix", "vector"]


def parameter_groups(model: nn.Module) -> dict[Role, list[nn.Parameter]]:
    """Every trainable parameter of `model` under exactly one role; a role may be empty.

    - embedding: looked up by id (token, position, n-gram tables), also where the head is tied to it
    - unembedding: the weight of `model.head`
    - matrix: all others with two or more dimensions; those before the last two only number the matrices (experts)
    - vector: the rest (biases, gains of norms, scalars)
    """
    looked_up = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding | nn.EmbeddingBag)}
    head = getattr(model, "head", None)
    groups: dict[Role, list[nn.Parameter]] = {"embedding": [], "unembedding": [], "matrix": [], "vector": []}
    for parameter in model.parameters():  # tied ones come once
        if not parameter.requires_grad:
            continue
        if id(parameter) in looked_up:
            groups["embedding"].append(parameter)
        elif head is not None and parameter is head.weight:
            groups["unembedding"].append(parameter)
        else:
            groups["matrix" if parameter.dim() >= 2 else "vector"].append(parameter)
    return groups
