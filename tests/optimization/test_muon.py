"""Muon + AdamW: which parameter goes where, equality with the method written out, and state that survives a save."""

import io

import pytest
import torch
from torch import Tensor, nn

from models.gpt import GPT
from optimization.groups import parameter_groups
from optimization.muon import Muon, muon, orthogonalize

SETTINGS = {
    "lr_matrix": 0.02,
    "lr_embedding": 0.2,
    "lr_unembedding": 0.004,
    "lr_vector": 0.01,
    "momentum": 0.95,
    "ns_steps": 5,
    "betas": [0.8, 0.95],
    "eps": 1e-10,
    "weight_decay": 0.1,
    "width_base": 768,
}


class Net(nn.Module):
    """One parameter of each kind, stacked matrices among them; two of equal shape up to transposition."""

    def __init__(self, *, tied: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(11, 8)
        self.up = nn.Linear(8, 24)
        self.down = nn.Linear(24, 8, bias=False)
        self.experts = nn.Parameter(torch.randn(3, 8, 8) / 8)
        self.head = nn.Linear(8, 11, bias=False)
        if tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: Tensor) -> Tensor:
        x = self.embed(ids)
        x = x + self.down(self.up(x).relu())
        return self.head(x + sum(x @ w for w in self.experts))


def train(net: nn.Module, optimizer: torch.optim.Optimizer, steps: int, *, start: int = 0) -> list[float]:
    losses = []
    for step in range(start, start + steps):
        generator = torch.Generator().manual_seed(step)
        ids = torch.randint(11, (64,), generator=generator)
        loss = nn.functional.cross_entropy(net(ids), (ids * 3 + 1) % 11)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("tied", [False, True])
def test_every_trainable_parameter_is_in_exactly_one_group(tied: bool):
    net = Net(tied=tied)
    net.up.weight.requires_grad_(False)
    groups = parameter_groups(net)
    names = {id(p): name for name, p in net.named_parameters()}
    found = {role: [names[id(p)] for p in params] for role, params in groups.items()}
    assert found == {
        "embedding": ["embed.weight"],
        "unembedding": [] if tied else ["head.weight"],
        "matrix": ["experts", "down.weight"],
        "vector": ["up.bias"],
    }


def test_a_gpt_has_no_unembedding_since_it_is_tied():
    model = GPT(vocab_size=13, seq_len=8, n_layer=2, n_head=2, n_embd=8)
    groups = parameter_groups(model)
    assert {id(p) for p in groups["embedding"]} == {id(model.embed.weight), id(model.position.weight)}
    assert sum(map(len, groups.values())) == len(list(model.parameters()))


def test_rates_scale_with_the_width_and_start_at_their_initial_value():
    rates = {g["role"]: g["initial_lr"] for g in muon(model=Net(), **SETTINGS).param_groups}
    scale = (8 / 768) ** -0.5
    assert rates == {"matrix": 0.02, "embedding": 0.2 * scale, "unembedding": 0.004 * scale, "vector": 0.01 * scale}
    assert all(g["lr"] == g["initial_lr"] for g in muon(model=Net(), **SETTINGS).param_groups)


def reference_step(p: Tensor, grad: Tensor, momentum: Tensor, lr: float) -> None:
    """Muon's step of one matrix as the paper writes it, in float64."""
    momentum.mul_(0.95).add_(grad, alpha=0.05)
    x = 0.05 * grad + 0.95 * momentum
    x = x / x.norm()
    for _ in range(5):
        x = 3.4445 * x - 4.7750 * (x @ x.T) @ x + 2.0315 * (x @ x.T) @ (x @ x.T) @ x
    p.mul_(1 - lr * 0.1).sub_(lr * max(1, p.shape[0] / p.shape[1]) ** 0.5 * x)


def test_equals_muon_and_adamw_written_out():
    net, naive = Net(), Net().double()
    optimizer = muon(model=net, **SETTINGS)
    roles = {id(p): role for role, params in parameter_groups(naive).items() for p in params}
    rates = {g["role"]: g["lr"] for g in optimizer.param_groups}
    momenta = {name: torch.zeros_like(p) for name, p in naive.named_parameters()}
    others = [{"params": [p], "lr": rates[roles[id(p)]]} for p in naive.parameters() if roles[id(p)] != "matrix"]
    adamw = torch.optim.AdamW(others, betas=(0.8, 0.95), eps=1e-10, weight_decay=0.0)
    for step in range(3):
        ids = torch.randint(11, (64,), generator=torch.Generator().manual_seed(step))
        for n in (net, naive):
            n.zero_grad()
            nn.functional.cross_entropy(n(ids), (ids * 3 + 1) % 11).backward()
        optimizer.step()
        adamw.step()
        with torch.no_grad():
            for name, p in naive.named_parameters():
                if roles[id(p)] == "matrix":
                    pairs = zip(p, p.grad, momenta[name], strict=True) if p.dim() == 3 else [(p, p.grad, momenta[name])]
                    for matrix, grad, momentum in pairs:
                        reference_step(matrix, grad, momentum, rates["matrix"])
    for (name, p), q in zip(net.named_parameters(), naive.parameters(), strict=True):
        torch.testing.assert_close(p.double(), q, rtol=1e-3, atol=1e-4, msg=name)


@pytest.mark.parametrize("shape", [(32, 32), (96, 24), (24, 96), (5, 16, 48)])
def test_updates_are_nearly_orthogonal(shape: tuple[int, ...]):
    generator = torch.Generator().manual_seed(0)
    update, again = orthogonalize([torch.randn(shape, generator=generator) * 1e-6] * 2, 5)
    singular = torch.linalg.svdvals(update)
    assert singular.max() < 1.25
    assert singular.median() > 0.65
    assert torch.equal(update, again)


def test_learns_and_is_deterministic():
    first, second = Net(), Net()
    losses = train(first, muon(model=first, **SETTINGS), 60)
    assert losses == train(second, muon(model=second, **SETTINGS), 60)
    assert losses[0] > 2
    assert losses[-1] < 0.1


def test_goes_on_from_a_saved_state_bit_for_bit():
    whole, half = Net(), Net()
    expected = train(whole, muon(model=whole, **SETTINGS), 10)[5:]
    optimizer = muon(model=half, **SETTINGS)
    train(half, optimizer, 5)
    file = io.BytesIO()
    torch.save({"net": half.state_dict(), "optimizer": optimizer.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    resumed = Net()
    resumed.load_state_dict(saved["net"])
    optimizer = muon(model=resumed, **SETTINGS)
    optimizer.load_state_dict(saved["optimizer"])
    assert train(resumed, optimizer, 5, start=5) == expected


def test_a_parameter_without_gradient_is_left_alone():
    net = Net()
    optimizer = muon(model=net, **SETTINGS)
    before = net.experts.detach().clone()
    net.up(torch.ones(1, 8)).sum().backward()
    optimizer.step()
    assert torch.equal(net.experts, before)
    assert isinstance(optimizer, Muon)
