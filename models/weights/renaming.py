"""A Hugging Face state_dict -> ours and back, by the tables of names.py."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from errors import RequestError
from models.weights.families import Family
from models.weights.names import FUSED, From

# buffers that old checkpoints carry: masks and frequencies, not weights
IGNORED = re.compile(r"(\.attn\.(bias|masked_bias)|rotary_emb\.inv_freq)$")


def to_ours(theirs: Mapping[str, Tensor], family: Family) -> tuple[dict[str, Tensor], list[str], list[str]]:
    """Renamed, and where the layouts differ transposed, concatenated, stacked.

    Returns:
        our state_dict, names of theirs that no rule knows, names of ours whose layout was changed.
    """
    left = {_whole(name, family): tensor for name, tensor in theirs.items() if not IGNORED.search(name)}
    left = _parted(left) if family.fused else left
    numbers = _numbers(left, family)
    ours: dict[str, Tensor] = {}
    reshaped: list[str] = []
    for pattern, rule in family.names.items():
        for i in numbers if "{i}" in pattern else [0]:
            sources = [name.replace("{i}", str(i)) for name in rule.names]
            parts = [_gather(left, source) for source in sources]
            if any(part is None for part in parts):
                continue
            name = pattern.replace("{i}", str(i))
            tensors = [part for part in parts if part is not None]
            tensor = tensors[0] if len(tensors) == 1 else torch.cat(tensors, dim=-2)
            tensor = tensor.float() + rule.plus if rule.plus else tensor  # in fp32: bf16 would round the sum
            ours[name] = tensor.T if rule.transposed else tensor
            if rule.transposed or rule.plus or "{e}" in rule.names[0]:
                reshaped.append(name)
            for source in sources:
                _take(left, source)
    return ours, sorted(left), reshaped


def to_theirs(ours: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """The way back; tensors are contiguous copies of nothing but what is there, and zeros for biases that ours lacks.

    Raises:
        RequestError: a parameter of ours has no name there.
    """
    theirs: dict[str, Tensor] = {}
    for name, tensor in (_missing_biases(ours, family) | dict(ours)).items():
        number = re.search(r"\.(\d+)\.", name)
        rule = family.names.get(_pattern(name))
        if rule is None:
            raise RequestError(
                f"{name}: {family.model_type} has no parameter for it; this model cannot be exported so."
            )
        targets = [target.replace("{i}", number[1] if number else "") for target in rule.names]
        for target, part in zip(targets, _split(tensor, rule), strict=True):
            if "{e}" in target:
                theirs |= {target.replace("{e}", str(e)): one for e, one in enumerate(part.unbind(0))}
            else:
                theirs[target] = part - rule.plus if rule.plus else part
    theirs = _fused(theirs) if family.fused else theirs
    return {name: tensor.contiguous() for name, tensor in theirs.items()}


def _parted(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Fused matrices by their parts: queries take what the output projection reads, keys and values half each."""
    found: dict[str, Tensor] = {}
    for name, tensor in theirs.items():
        end = next((end for end in FUSED if name.endswith(end)), None)
        if end is None:
            found[name] = tensor
            continue
        stem = name.removesuffix(end)
        output = theirs.get(f"{stem}self_attn.o_proj.weight")
        if len(FUSED[end]) == 3 and output is None:
            found[name] = tensor  # told as not used, and o_proj as missing
            continue
        queries = output.shape[1] if output is not None and len(FUSED[end]) == 3 else 0
        rest = (len(tensor) - queries) // 2
        parts = tensor.split([queries, rest, rest] if queries else [rest, rest])
        found |= {stem + part: rows for part, rows in zip(FUSED[end], parts, strict=True)}
    return found


def _fused(theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    for end, (first, *_) in FUSED.items():
        for stem in [name.removesuffix(first) for name in theirs if name.endswith(first)]:
            theirs[stem + end] = torch.cat([theirs.pop(stem + part) for part in FUSED[end]])
    return theirs


def _missing_biases(ours: Mapping[str, Tensor], family: Family) -> dict[str, Tensor]:
    """Zeros, (outputs,), for each bias of the family's that stands beside a weight of ours: they change nothing."""
    beside = {name.removesuffix("weight") + "bias": w for name, w in ours.items() if name.endswith(".weight")}
    return {n: w.new_zeros(len(w)) for n, w in beside.items() if n not in ours and _pattern(n) in family.names}


def _pattern(name: str) -> str:
    """With {i} for the layer, as in the tables."""
    return re.sub(r"(?<=\.)\d+(?=\.)", "{i}", name, count=1)


def _split(tensor: Tensor, rule: From) -> tuple[Tensor, ...]:
    tensor = tensor.T if rule.transposed else tensor
    return (tensor,) if len(rule.names) == 1 else tensor.chunk(len(rule.names), dim=-2)


def _whole(name: str, family: Family) -> str:
    """With the prefix that a base model's checkpoint (without a head) leaves out."""
    return name if name.startswith((family.prefix, "lm_head.")) else family.prefix + name


def _numbers(theirs: Mapping[str, Tensor], family: Family) -> list[int]:
    """Layers that the checkpoint has."""
    layer = next(rule.names[0] for pattern, rule in family.names.items() if "{i}" in pattern).split("{i}")[0]
    return sorted({int(name[len(layer) :].split(".")[0]) for name in theirs if name.startswith(layer)})


def _gather(theirs: Mapping[str, Tensor], source: str) -> Tensor | None:
    """The tensor called `source`, or all of those over {e}, stacked; None if it is not there."""
    if "{e}" not in source:
        return theirs.get(source)
    found: list[Tensor] = []
    while (name := source.replace("{e}", str(len(found)))) in theirs:
        found.append(theirs[name])
    return torch.stack(found) if found else None


def _take(theirs: dict[str, Tensor], source: str) -> None:
    e = 0
    while theirs.pop(source.replace("{e}", str(e)), None) is not None and "{e}" in source:
        e += 1
