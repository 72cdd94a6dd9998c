"""LoRA: the weights stay as they are, and a product of two thin matrices is learned beside each of them.

    y = x W^T + scale (x A^T) B^T      A (rank, in) random, B (out, rank) zero: nothing changes at the start

Hu et al. 2021 (2106.09685); scale is alpha / rank, or alpha / sqrt(rank) (rsLoRA, 2312.03732); DoRA learns the length
of each row of W beside its direction (2402.09353). The layers are those of peft, put into the model in place, so that
our models and Hugging Face's are treated alike. QLoRA (2305.14314) holds W in 4 bits.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bounds import Below1, PositiveFloat, PositiveInt
from errors import RequestError
from models.base import LanguageModel
from models.layers.moe.layer import MoE, Router
from strict_json import object_in

NAME = "default"  # peft's name of the one adapter
HEADS = ("score_head",)  # small and new: learned whole, beside adapters


def lora(
    *,
    model: LanguageModel,
    rank: PositiveInt,
    alpha: PositiveFloat,
    dropout: Below1,
    targets: str | list[str],
    rslora: bool,
    dora: bool,
) -> LanguageModel:
    """Puts adapters beside the linear layers that `targets` names, in place; all other weights are frozen.

    Args:
        targets: "all-linear" (every one but the output head), or the last parts of names, e.g. [qkv, proj]. A mixture's
            routers are linear layers, its experts are none.

    Raises:
        RequestError: a target that matches no layer.
    """
    from peft import LoraConfig, inject_adapter_in_model

    model.requires_grad_(False)
    chosen = chosen_layers(model, targets)
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,  # type: ignore[arg-type] # a fraction is as good
        lora_dropout=dropout,
        target_modules=chosen,
        fan_in_fan_out=bool(transposed(model, chosen)),
        use_rslora=rslora,
        use_dora=dora,
    )
    inject_adapter_in_model(config, model, NAME)
    for name in HEADS:
        if hasattr(model, name):
            getattr(model, name).requires_grad_(True)
    model.adapter = {  # what it takes to do this again before a checkpoint is read
        **{"rank": rank, "alpha": alpha, "dropout": dropout, "targets": targets, "rslora": rslora, "dora": dora}
    }  # type: ignore[assignment]
    return model


def qlora(
    *,
    model: LanguageModel,
    rank: PositiveInt,
    alpha: PositiveFloat,
    dropout: Below1,
    targets: str | list[str],
    rslora: bool,
    dora: bool,
    double_quant: bool,
) -> LanguageModel:
    """LoRA over weights held in 4 bits (NF4), computing in bf16 where the device has it.

    Layers that transformers keeps in fp32 stay as they are: T5's `wo` turns what enters it into its weights' type, and
    4 bits are packed into bytes. So do routers, which choose in fp32.

    Raises:
        RequestError: bitsandbytes is not installed, or there is no GPU that it serves.
    """
    if find_spec("bitsandbytes") is None or not torch.cuda.is_available():
        missing = "bitsandbytes is not installed" if find_spec("bitsandbytes") is None else "there is no CUDA GPU"
        raise RequestError(
            f"adapter=qlora holds weights in 4 bits through bitsandbytes on a CUDA GPU; here {missing}.\n"
            "Type adapter=lora (weights as they are), or on a machine with a GPU: pip install bitsandbytes"
        )
    chosen = chosen_layers(model, targets)
    if kept := transposed(model, chosen):
        raise RequestError(
            f"adapter=qlora: {kept[0]} keeps its weights transposed (transformers' Conv1D), which bitsandbytes cannot "
            "hold in 4 bits.\nType adapter=lora, or give the folder as init_from, without model=hf."
        )
    whole = set(getattr(getattr(model, "hf", None), "_keep_in_fp32_modules", None) or ())
    packed = [n for n in chosen if n.rpartition(".")[2] not in whole and not isinstance(model.get_submodule(n), Router)]
    quantize(model, packed, double_quant=double_quant)
    return lora(model=model, rank=rank, alpha=alpha, dropout=dropout, targets=targets, rslora=rslora, dora=dora)


def quantize(model: nn.Module, names: list[str], *, double_quant: bool) -> None:
    """Replaces these linear layers by 4-bit ones; they are packed when they reach their device."""
    import bitsandbytes as bnb

    for name in names:
        parent, _, leaf = name.rpartition(".")
        layer: Any = model.get_submodule(name)
        packed = bnb.nn.Linear4bit(
            layer.in_features,
            layer.out_features,
            bias=layer.bias is not None,
            compute_dtype=torch.bfloat16 if torch.cuda.is_available() else torch.float32,
            compress_statistics=double_quant,
            quant_type="nf4",
        )
        packed.weight = bnb.nn.Params4bit(
            layer.weight.data, requires_grad=False, quant_type="nf4", compress_statistics=double_quant
        )
        packed.bias = layer.bias
        setattr(model.get_submodule(parent), leaf, packed)
    model.is_loaded_in_4bit = True  # type: ignore[assignment] # how peft knows which layers to put in


def linear_layers(model: LanguageModel) -> list[str]:
    """Names of all linear layers but heads."""
    heads = {id(model.head), *(id(getattr(model, name, None)) for name in HEADS)}
    kinds: tuple[type[nn.Module], ...] = (nn.Linear, *conv1d())
    return [n for n, m in model.named_modules() if isinstance(m, kinds) and id(m) not in heads]


def expert_parameters(model: nn.Module) -> int:
    """Of a mixture's experts that are held in one tensor, which is no linear layer: no adapter stands beside them."""
    ours = [p for m in model.modules() if isinstance(m, MoE) for p in (m.w13, m.w2)]
    theirs = [p for name, p in model.named_parameters() if ".experts." in name and p.dim() == 3]  # of transformers
    return sum(p.numel() for p in [*ours, *theirs])


def conv1d() -> tuple[type[nn.Module], ...]:
    """Transformers' linear layer with weights (inputs, outputs), which its GPT-2 has; no model has it unimported."""
    module = sys.modules.get("transformers.pytorch_utils")
    return () if module is None else (module.Conv1D,)


def transposed(model: LanguageModel, names: list[str]) -> list[str]:
    """Those of the layers whose weights are (inputs, outputs)."""
    return [name for name in names if isinstance(model.get_submodule(name), conv1d())]


def chosen_layers(model: LanguageModel, targets: str | list[str]) -> list[str]:
    """Full names of the layers that `targets` names. Raises RequestError for one that names none."""
    layers = linear_layers(model)
    if not layers:
        raise RequestError("adapter=... stands beside linear layers, and this model has none that it knows.")
    if targets == "all-linear":
        return layers
    wanted = [targets] if isinstance(targets, str) else list(targets)
    unknown = [target for target in wanted if not any(matches(name, target) for name in layers)]
    if unknown or not wanted:
        there = ", ".join(sorted({name.rpartition(".")[2] for name in layers}))
        wrong = f"no linear layer of this model is called {unknown[0]}" if unknown else "names no layer"
        raise RequestError(
            f"adapter.targets={targets}: {wrong}.\n"
            f"There are: {there}; in full {layers[0]} ... {layers[-1]}.\n"
            f"Type adapter.targets=all-linear, or adapter.targets=[{layers[0].rpartition('.')[2]}]."
        )
    return [name for name in layers if any(matches(name, target) for target in wanted)]


def matches(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


# ---- what one does with adapters -----------------------------------------------------------------------------------


def adapted_layers(model: nn.Module) -> list[Any]:
    """The layers with an adapter beside them."""
    if getattr(model, "adapter", None) is None:
        return []
    from peft.tuners.tuners_utils import BaseTunerLayer

    return [module for module in model.modules() if isinstance(module, BaseTunerLayer)]


@contextmanager
def without_adapters(model: nn.Module) -> Iterator[None]:
    """The model as it was before: DPO's reference without a second copy."""
    layers = adapted_layers(model)
    for layer in layers:
        # not enable_adapters(False): that also freezes them, in the middle of an update
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def adapter_state(model: nn.Module) -> dict[str, torch.Tensor]:
    """What was learned, alone: adapters, and heads that are learned whole."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def save_adapter(model: LanguageModel, folder: Path) -> None:
    """`adapter_state` and the settings, a small part of a checkpoint, in a folder of their own."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    save_file(
        {n: value.cpu().contiguous() for n, value in adapter_state(model).items()}, folder / "adapter.safetensors"
    )
    (folder / "adapter.json").write_text(json.dumps(model.adapter, indent=1) + "\n", encoding="utf-8")


def load_adapter(model: LanguageModel, folder: Path) -> LanguageModel:
    """Puts a saved adapter onto the model that it was trained beside.

    Raises:
        RequestError: it was trained beside another model.
    """
    from safetensors.torch import load_file

    lora(model=model, **object_in(folder / "adapter.json"))
    state, own = load_file(folder / "adapter.safetensors"), adapter_state(model)
    if {n: v.shape for n, v in state.items()} != {n: v.shape for n, v in own.items()}:
        raise RequestError(f"{folder} holds an adapter of another model: names or shapes differ.")
    model.load_state_dict(state, strict=False)
    return model


def merge(model: LanguageModel) -> LanguageModel:
    """Adds the adapters into the weights and takes them away, in place: a plain model again."""
    for name, layer in [(n, m) for n, m in model.named_modules() if m in set(adapted_layers(model))]:
        layer.merge()
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer.get_base_layer())
    model.adapter = None  # type: ignore[assignment]
    return model.requires_grad_(True)
