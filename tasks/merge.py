"""task=merge: the average of several runs' weights, as a run of its own.

Weights that were trained from one start lie close enough that their average is often better than each ("model soups",
2203.05482); of runs that began from different random weights it is usually useless, so what differs is printed.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from bounds import NonNegativeFloat
from callbacks.checkpoints import AtomicCheckpointIO
from commands import run_py
from errors import RequestError
from launcher.config.inherit import read_run, run_folder_of
from launcher.jobs.run_folder import RunFolder
from models.boosting.ensemble import Boosted
from progress import shown
from runs.differences import compare
from tasks import parts
from tokenization.base import load_tokenizer

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("weights", "objective")


class Merge(TypedDict):
    """The section `merge`."""

    others: list[str]
    weights: list[NonNegativeFloat] | None


def merge(cfg: DictConfig, run: RunFolder) -> None:
    """Prints what differs between the runs and how far their weights lie apart; writes checkpoints/best.ckpt."""
    parts.needs_model(cfg, "task=merge")
    sources = [str(cfg.init_from), *map(str, cfg.merge.others)]
    shares = shares_of(len(sources), cfg.merge.weights)
    tokenizer = parts.saved_tokenizer(cfg)
    check_same(cfg, sources, tokenizer.fingerprint)
    print_differences([folder_of(source) for source in sources])
    states = states_of(cfg, sources, vocab_size=tokenizer.vocab_size)
    average, apart = averaged(states, shares)
    for source, share, distance in zip(sources, shares, apart, strict=True):
        print(f"  {share:6.1%} of {source}" + (f", {distance:.1%} away from the first" if distance else ""))
    tokenizer.save(run.path / "tokenizer")
    (run.path / "checkpoints").mkdir()
    writer = AtomicCheckpointIO()
    writer.made_with = parts.made_with(cfg, tokenizer=tokenizer)
    state = {f"model.{name}": weight for name, weight in average.items()}
    writer.save_checkpoint({"state_dict": state, "global_step": 0}, run.path / "checkpoints" / "best.ckpt")
    run.results["merged"] = dict(zip(sources, shares, strict=True))
    print(f"\n  result     {run.path}\n  evaluate   {run_py('task=evaluate', f'init_from={run.path}')}")


def shares_of(n: int, weights: list[float] | None) -> list[float]:
    """Shares that sum to one. Raises RequestError for another number of them than runs, or none above zero."""
    if n < 2:
        raise RequestError("task=merge averages two runs or more: type merge.others=[RUN_FOLDER,...] too.")
    given = [1.0] * n if weights is None else [float(weight) for weight in weights]
    if len(given) != n or sum(given) <= 0:
        raise RequestError(f"merge.weights={given}: expected {n} shares, init_from's first, and one above zero.")
    return [weight / sum(given) for weight in given]


def folder_of(source: str) -> Path:
    """The run that a source is, or lies in as a checkpoint. Raises RequestError where there is none."""
    folder = run_folder_of(Path(source).expanduser())
    if folder is None:
        raise RequestError(f"task=merge: {source} is no run folder, nor a checkpoint in one.")
    return folder


def check_same(cfg: DictConfig, sources: list[str], fingerprint: str) -> None:
    """Raises RequestError where models or tokenizers differ: then weights of one place mean different things."""
    if twice := {source for source in sources if sources.count(source) > 1}:
        raise RequestError(f"task=merge: {', '.join(twice)} is named twice. Type merge.weights=[...] to count it more.")
    for source in sources[1:]:
        theirs, folder = read_run(folder_of(source))[0], folder_of(source)
        both = f"runs.compare=[{folder_of(sources[0])},{folder}]"
        if OmegaConf.to_container(theirs.model, resolve=True) != OmegaConf.to_container(cfg.model, resolve=True):
            raise RequestError(
                f"merge.others: {source} has another model than {sources[0]}.\n"
                f"See what differs: {run_py('task=runs', both)}"
            )
        if load_tokenizer(folder / "tokenizer").fingerprint != fingerprint:
            raise RequestError(f"merge.others: {source} has another tokenizer than {sources[0]}: its ids differ.")


def states_of(cfg: DictConfig, sources: list[str], *, vocab_size: int) -> Iterator[dict[str, Tensor]]:
    """The weights of each run, one run in memory at a time; adapters merged into them."""
    for source in shown(sources, "averaging", unit="runs"):
        own = cfg.copy()
        own.init_from = source
        model = parts.build_model(own, vocab_size=vocab_size)
        if isinstance(model, Boosted):
            raise RequestError("task=merge: stages are not weights of one place; export the ensemble first.")
        parts.load_start(model, own)
        yield model.state_dict()


def averaged(states: Iterator[dict[str, Tensor]], shares: list[float]) -> tuple[dict[str, Tensor], list[float]]:
    """The average, in the type that the weights have, and how far each lies from the first: ||w - w_1|| / ||w_1||.

    Sums are in float64; what is no floating-point number is the first run's.
    """
    first: dict[str, Tensor] = {}
    sums: dict[str, Tensor] = {}
    apart: list[float] = []
    for share, state in zip(shares, states, strict=True):
        first = first or {name: weight.detach().clone() for name, weight in state.items()}
        squares = [0.0, 0.0]
        for name, weight in state.items():
            if not weight.is_floating_point():
                continue
            wide = weight.detach().double()
            sums[name] = sums[name] + share * wide if name in sums else share * wide
            squares[0] += float((wide - first[name].double()).square().sum())
            squares[1] += float(first[name].double().square().sum())
        apart.append((squares[0] / squares[1]) ** 0.5)
    return {name: sums[name].to(weight.dtype) if name in sums else weight for name, weight in first.items()}, apart


def print_differences(folders: list[Path]) -> None:
    found = compare(folders)
    for name, cells in (found.config | found.surroundings).items():
        print(f"  {name:<28}{'   '.join('-' if cell is None else str(cell) for cell in cells)}")
