"""Checkpoints of QLoRA: packed weights become plain ones for init_from, and packed ones again for resume."""

import sys
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from errors import RequestError
from models.adapters import packed
from models.adapters.lora import chosen_layers, lora, quantize
from models.adapters.packed import adopt, packed_names, unpacked
from models.gpt import GPT
from models.weights.loading import load_weights

SETTINGS = {"rank": 2, "alpha": 4, "dropout": 0.0, "targets": "all-linear", "rslora": False, "dora": False}
NOTE = ".quant_state.bitsandbytes__nf4"


def gpt(seed: int) -> GPT:
    torch.manual_seed(seed)
    return GPT(vocab_size=32, seq_len=24, n_layer=2, n_head=2, n_embd=64, bias=False).eval()


def pack(weight: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Not 4 bits, but one column of bytes and notes beside it, as bitsandbytes leaves them."""
    peak = weight.abs().max()
    column = (weight / peak * 127).round().to(torch.int8).view(-1, 1)
    return column, {"absmax": peak[None], NOTE[1:]: torch.tensor(weight.shape)}


class FakeState(SimpleNamespace):
    @classmethod
    def from_dict(cls, notes, device):
        return cls(peak=notes.pop("absmax"), shape=notes.pop(NOTE[1:]).tolist())


class FakeParameter(nn.Parameter):
    @classmethod
    def from_prequantized(cls, data, quantized_stats, requires_grad, device, module):
        made = cls(data.clone(), requires_grad)
        made.quant_state = FakeState.from_dict(quantized_stats, device)
        return made


@pytest.fixture
def bitsandbytes(monkeypatch):
    functional = SimpleNamespace(
        QuantState=FakeState, dequantize_4bit=lambda column, how: (column / 127 * how.peak).view(how.shape)
    )
    monkeypatch.setattr(packed, "_bitsandbytes", lambda: SimpleNamespace(functional=functional))


def packed_checkpoint() -> tuple[GPT, dict[str, torch.Tensor]]:
    """A model with stirred adapters, and its state with the frozen layers packed."""
    model = lora(model=gpt(0), **SETTINGS)
    with torch.no_grad():
        for name, p in model.named_parameters():
            if "lora_B" in name:
                p.normal_(std=0.1)
    state = {}
    for name, value in model.state_dict().items():
        state[name] = value.clone()
        if name.endswith("base_layer.weight"):
            state[name], notes = pack(value)
            state |= {f"{name}.{key}": note for key, note in notes.items()}
    return model, state


def test_init_from_takes_a_packed_run_apart_before_it_fills_the_model(bitsandbytes, tmp_path):
    model, state = packed_checkpoint()
    assert len(packed_names(state)) == 8
    tree = {"state_dict": {f"model.{k}": v for k, v in state.items()}, "adapter": model.adapter}
    torch.save(tree, tmp_path / "q.ckpt")
    other, ids = gpt(5), torch.randint(0, 32, (2, 10))
    load_weights(other, tmp_path / "q.ckpt", tell="nothing")
    with torch.no_grad():
        found, wanted = other(ids, logits="all").logits, model(ids, logits="all").logits
    torch.testing.assert_close(found, wanted, atol=0.02, rtol=0)  # 8 bits
    assert not any("lora" in name for name in other.state_dict())


def test_resume_puts_packed_weights_back_before_torch_loads_them():
    _, state = packed_checkpoint()
    fresh = lora(model=gpt(1), **SETTINGS)
    layers = [m for n, m in fresh.named_modules() if n.endswith("base_layer")]
    for layer in layers:
        layer.weight = FakeParameter(layer.weight.data, requires_grad=False)
    whole = nn.ModuleDict({"model": fresh})
    saved = {f"model.{name}": value for name, value in state.items()}
    adopt(fresh, saved, prefix="model.")
    whole.load_state_dict(saved)  # strict
    assert all(layer.weight.shape[1] == 1 and layer.weight.quant_state.peak > 0 for layer in layers)


def test_plain_weights_stay_as_they_are_and_a_missing_package_is_named(monkeypatch):
    plain = gpt(0).state_dict()
    assert unpacked(plain) is plain
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(RequestError, match="pip install bitsandbytes"):
        unpacked(packed_checkpoint()[1])


def test_with_bitsandbytes_itself(tmp_path):
    """On the CPU, where it computes slowly but packs alike."""
    pytest.importorskip("bitsandbytes")

    def quantized(seed: int) -> GPT:
        model = gpt(seed)
        quantize(model, chosen_layers(model, "all-linear"), double_quant=True)
        return lora(model=model, **SETTINGS)

    model, ids = quantized(0).to("cpu"), torch.randint(0, 32, (2, 10))  # packed when they reach their device
    saved = {f"model.{name}": value.clone() for name, value in model.state_dict().items()}
    torch.save({"state_dict": saved, "adapter": model.adapter}, tmp_path / "q.ckpt")
    plain, resumed = gpt(5), nn.ModuleDict({"model": quantized(6)})
    load_weights(plain, tmp_path / "q.ckpt", tell="nothing")
    adopt(resumed["model"], saved, prefix="model.")
    resumed.load_state_dict(saved)
    resumed.to("cpu")
    with torch.no_grad():
        wanted = model(ids, logits="all").logits
        for other in (plain, resumed["model"]):
            torch.testing.assert_close(other(ids, logits="all").logits, wanted, atol=1e-4, rtol=1e-4)
