"""Muon for the matrices, AdamW for the rest, as one optimizer.

Muon (Jordan et al. 2024, https://kellerjordan.github.io/posts/muon; at scale: 2502.16982) replaces a matrix's momentum
by the nearest semi-orthogonal matrix, so that every direction moves equally far. Embeddings, the head and vectors have
no such geometry: AdamW, each kind with its own rate, as in nanochat.

Shapes: E stacked matrices, O rows (outputs), I columns (inputs).
"""

from collections import defaultdict
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw as adamw_update

from bounds import Below1, NonNegativeFloat, PositiveFloat, PositiveInt
from optimization.groups import parameter_groups

# Quintic whose slope at 0 is as steep as it may be: singular values end up in about [0.7, 1.2] (Jordan et al. 2024).
NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)

# Equal shapes are orthogonalised together, this many elements at a time: bounds the memory of big models.
BATCH_ELEMENTS = 2**25


def muon(
    *,
    model: nn.Module,
    lr_matrix: NonNegativeFloat,
    lr_embedding: NonNegativeFloat,
    lr_unembedding: NonNegativeFloat,
    lr_vector: NonNegativeFloat,
    momentum: Below1,
    ns_steps: PositiveInt,
    betas: tuple[Below1, Below1],
    eps: PositiveFloat,
    weight_decay: NonNegativeFloat,
    width_base: PositiveInt,
) -> "Muon":
    """Muon and AdamW over all trainable parameters of `model`; a schedule multiplies all rates alike.

    Args:
        lr_matrix: rate of Muon's groups, of an update with singular values near 1.
        lr_embedding, lr_unembedding, lr_vector: rates of AdamW's groups at width `width_base`; at another width they
            are multiplied by (width / width_base)^-0.5, as nanochat does.
        momentum: of Muon, Nesterov's kind. ns_steps: Newton-Schulz iterations.
        betas, eps: of AdamW.
        weight_decay: decoupled, of the matrices only.
    """
    by_role = parameter_groups(model)
    scale = (_width(model) / width_base) ** -0.5
    muon_settings = {"kind": "muon", "momentum": momentum, "ns_steps": ns_steps, "weight_decay": weight_decay}
    # fused: one pass over memory, on CPUs as well; also tells load_state_dict to leave the step counts on the device
    adamw_settings = {"kind": "adamw", "betas": tuple(betas), "eps": eps, "weight_decay": 0.0, "fused": True}
    groups = [
        {"params": by_role["matrix"], "role": "matrix", "lr": lr_matrix} | muon_settings,
        {"params": by_role["embedding"], "role": "embedding", "lr": lr_embedding * scale} | adamw_settings,
        {"params": by_role["unembedding"], "role": "unembedding", "lr": lr_unembedding * scale} | adamw_settings,
        {"params": by_role["vector"], "role": "vector", "lr": lr_vector * scale} | adamw_settings,
    ]
    return Muon([group | {"initial_lr": group["lr"]} for group in groups if group["params"]])


def _width(model: nn.Module) -> int:
    return model.head.weight.shape[1]  # type: ignore[union-attr, return-value, index]


class Muon(torch.optim.Optimizer):
    """Each group says by "kind" whether it takes Muon's step or AdamW's; see `muon` for what the groups hold.

    FSDP2's sharded parameters work: state stays sharded, and each rank gathers one batch of matrices at a time to
    orthogonalise it (the same work on every rank: a matrix's update needs the whole matrix).
    """

    def __init__(self, groups: list[dict[str, Any]]):
        super().__init__(groups, {})

    @torch.no_grad()
    def step(self, closure: Any = None) -> Any:
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            touched = [p for p in group["params"] if p.grad is not None]
            if touched:
                (self._muon if group["kind"] == "muon" else self._adamw)(touched, group)
        return loss

    def _adamw(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {
                    "step": torch.zeros((), dtype=torch.float32, device=p.device),
                    "exp_avg": torch.zeros_like(p),
                    "exp_avg_sq": torch.zeros_like(p),
                }
        states = [self.state[p] for p in params]
        adamw_update(
            [_local(p) for p in params],
            [_local(p.grad) for p in params],  # type: ignore[arg-type]
            [_local(s["exp_avg"]) for s in states],
            [_local(s["exp_avg_sq"]) for s in states],
            [],
            [s["step"] for s in states],
            fused=group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )

    def _muon(self, params: list[Tensor], group: dict[str, Any]) -> None:
        for p in params:
            if not self.state[p]:
                self.state[p] = {"momentum_buffer": torch.zeros_like(p)}
        if group["weight_decay"]:
            torch._foreach_mul_([_local(p) for p in params], 1 - group["lr"] * group["weight_decay"])
        for batch in _batches(params):
            updates = orthogonalize([_whole(self._look_ahead(p, group["momentum"])) for p in batch], group["ns_steps"])
            for p, update in zip(batch, updates, strict=True):
                rows, columns = p.shape[-2:]
                step = group["lr"] * max(1.0, rows / columns) ** 0.5  # keeps the RMS of outputs moving at one rate
                _local(p).add_(_local(_part_of(update, p)), alpha=-step)

    def _look_ahead(self, p: Tensor, momentum: float) -> Tensor:
        """Nesterov's momentum: the running mean, one more step along this gradient."""
        assert p.grad is not None
        running = self.state[p]["momentum_buffer"].lerp_(p.grad, 1 - momentum)
        return p.grad.lerp(running, momentum)


def orthogonalize(matrices: list[Tensor], steps: int) -> list[Tensor]:
    """U V^T of each matrix U S V^T, roughly: singular values in about [0.7, 1.2]. All of one shape up to transposition.

    Newton-Schulz in bf16 on GPUs, which it bears; in fp32 elsewhere: many CPUs emulate bf16, a hundred times slower.
    """
    dtype = torch.bfloat16 if matrices[0].is_cuda else torch.float32
    flat = torch.cat([_wide(m).flatten(0, -3) if m.dim() > 2 else _wide(m).unsqueeze(0) for m in matrices])  # (E, O, I)
    results = newton_schulz(flat.to(dtype), steps).split([m.shape[:-2].numel() for m in matrices])
    return [
        (r.mT if m.shape[-2] > m.shape[-1] else r).reshape(m.shape).to(m.dtype)
        for m, r in zip(matrices, results, strict=True)
    ]


def newton_schulz(x_EOI: Tensor, steps: int) -> Tensor:
    """Pushes all singular values towards 1. O <= I, so that the Gram matrix is the small one."""
    a, b, c = NEWTON_SCHULZ
    x_EOI = x_EOI / (x_EOI.norm(dim=(-2, -1), keepdim=True) + 1e-7)  # spectral norm <= Frobenius norm = 1
    for _ in range(steps):
        gram = x_EOI @ x_EOI.mT  # (E, O, O)
        x_EOI = torch.baddbmm(x_EOI, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x_EOI, beta=a)
    return x_EOI


def _batches(params: list[Tensor]) -> list[list[Tensor]]:
    """Parameters of one shape (up to transposition) together, at most BATCH_ELEMENTS at once."""
    by_shape: dict[tuple[int, ...], list[Tensor]] = defaultdict(list)
    for p in params:
        by_shape[min(p.shape[-2:]), max(p.shape[-2:])].append(p)
    batches: list[list[Tensor]] = []
    for alike in by_shape.values():
        elements = 0
        for p in alike:
            if not elements or elements + p.numel() > BATCH_ELEMENTS:
                batches.append([])
                elements = 0
            batches[-1].append(p)
            elements += p.numel()
    return batches


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[-2] > matrix.shape[-1] else matrix


def _is_sharded(t: Tensor) -> bool:
    """An FSDP2 parameter (DTensor); asked without importing torch.distributed.tensor, which takes a second."""
    return hasattr(t, "to_local")


def _local(t: Tensor) -> Tensor:
    """This rank's part of a sharded tensor, as a view; AdamW's arithmetic is elementwise and needs no more."""
    return t.to_local() if _is_sharded(t) else t  # type: ignore[attr-defined]


def _whole(t: Tensor) -> Tensor:
    return t.full_tensor() if _is_sharded(t) else t  # type: ignore[attr-defined]


def _part_of(whole: Tensor, p: Tensor) -> Tensor:
    """The part of `whole` that belongs to this rank's part of `p`; every rank has the whole, so nothing is sent."""
    if not _is_sharded(p):
        return whole
    from torch.distributed.tensor import DTensor, Replicate

    assert isinstance(p, DTensor)
    mesh = p.device_mesh
    return DTensor.from_local(whole, mesh, [Replicate()] * mesh.ndim, run_check=False).redistribute(mesh, p.placements)
