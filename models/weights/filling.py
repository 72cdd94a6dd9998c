"""Tensors into a model, with an account of what went where.

What must not pass unnoticed: parameters that the source lacks or has too many, other shapes, a head that is tied on one
side only, another vocabulary.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from errors import RequestError
from models.base import LanguageModel

EMBEDDING, HEAD, POSITION = "embed.weight", "lm_head.weight", "position.weight"


@dataclass
class Report:
    """Names of our parameters, by what happened to them; `unexpected` are names of the source."""

    loaded: list[str] = field(default_factory=list)
    reshaped: list[str] = field(default_factory=list)
    retied: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)  # left at random
    unexpected: list[str] = field(default_factory=list)
    resized: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        words = {
            "loaded": self.loaded, "reshaped": self.reshaped, "re-tied": self.retied, "resized": self.resized,
            "left at random": self.missing, "not used": self.unexpected,
        }  # fmt: skip
        return [
            f"  {word:<15}{len(names):>5}" + (f"   {_some(names)}" if word not in ("loaded", "reshaped") else "")
            for word, names in words.items()
            if names or word == "loaded"
        ]

    def gaps(self) -> list[str]:
        """The lines of what stayed random and of what is not used."""
        return Report(missing=self.missing, unexpected=self.unexpected).lines()[1:]


def fill(
    model: LanguageModel,
    state: Mapping[str, Tensor],
    *,
    source: str,
    unexpected: list[str] | None = None,
    reshaped: list[str] | None = None,
    strict: bool = True,
    resize: bool = False,
    tied: bool | None = None,
) -> Report:
    """Copies `state` (our names) into `model`.

    Args:
        source: what to call it in messages. unexpected, reshaped: what a renaming has left over and changed.
        strict: refuse missing and unexpected parameters; otherwise they stay random and unused.
        resize: a larger or smaller vocabulary is taken over row by row; new rows start as the mean of the old ones.
        tied: whether the source says that its head is its embedding. Where it says no and has no head, an untied
            model's head is missing, not made from the embedding.

    Raises:
        RequestError: it is another model.
    """
    state, own = dict(state), model.state_dict()
    report = Report(reshaped=list(reshaped or []), unexpected=list(unexpected or []))
    if tied is not False or is_tied(model):
        _tie(state, model, report)
    for name in vocabulary_names(model, own):
        _fit_vocabulary(state, own, name, report, source=source, resize=resize)
    _fit_positions(state, own, report)
    report.loaded = [name for name in own if name in state]
    report.missing = [name for name in own if name not in state]
    report.unexpected += [name for name in state if name not in own]
    wrong = [
        f"  {name}: {tuple(state[name].shape)} in {source}, {tuple(own[name].shape)} in the model"
        for name in report.loaded
        if state[name].shape != own[name].shape
    ]
    if wrong:
        raise RequestError(
            f"{source} holds another model: {len(wrong)} parameters have other shapes.\n"
            + _few(wrong)
            + _advice(report.missing)
        )
    if strict and (report.missing or report.unexpected):
        problems = [f"  {name}: only in {source}" for name in report.unexpected]
        problems += [f"  {name}: only in the model" for name in report.missing]
        raise RequestError(
            f"{source} holds another model ({len(problems)} parameters differ):\n" + _few(problems)
            + _advice(report.missing)
            + "\nOr type init.strict=false: what is missing then starts at random."
        )  # fmt: skip
    for name in report.loaded:
        if own[name].is_floating_point() and not state[name].is_floating_point():
            kind = str(state[name].dtype).removeprefix("torch.")
            raise RequestError(f"{source}: {name} is of {kind}: weights are real numbers, as float32 or bfloat16.")
    model.load_state_dict({name: state[name] for name in report.loaded}, strict=False)
    _check_numbers(model, report.loaded, source)
    return report


def _check_numbers(model: LanguageModel, names: list[str], source: str) -> None:
    """Raises RequestError for weights that are no numbers: whatever such a model says, it means nothing."""
    own = model.state_dict()
    bad = [name for name in names if own[name].is_floating_point() and bool(own[name].isnan().any())]
    if bad:
        raise RequestError(
            f"{source}: {len(bad)} of {len(names)} weights hold nan ({_some(bad)}).\n"
            "The files are damaged, or of a run that diverged: take an earlier checkpoint, or fetch them again."
        )


def is_tied(model: LanguageModel) -> bool:
    """The head and the embedding are one parameter."""
    own = dict(model.named_parameters(remove_duplicate=False))
    return HEAD in own and own[HEAD] is own.get(EMBEDDING)


def _tie(state: dict[str, Tensor], model: LanguageModel, report: Report) -> None:
    """Gives the head or the embedding that one side keeps once and the other twice."""
    if is_tied(model) and EMBEDDING in state and HEAD in state:
        same = state[HEAD].shape == state[EMBEDDING].shape and torch.equal(state[HEAD], state[EMBEDDING])
        if not same:
            raise RequestError(
                "the checkpoint's head is not its embedding, but this model ties the two: one would be lost.\n"
                "Type model.tied=false, or choose a model whose head is its own."
            )
    elif EMBEDDING in state and HEAD not in state:
        state[HEAD] = state[EMBEDDING]
        report.retied.append(HEAD)
    elif HEAD in state and EMBEDDING not in state and is_tied(model):
        state[EMBEDDING] = state[HEAD]
        report.retied.append(EMBEDDING)


def _fit_vocabulary(
    state: dict[str, Tensor], own: dict[str, Tensor], name: str, report: Report, *, source: str, resize: bool
) -> None:
    if name not in state or name not in own:
        return
    old, rows = state[name], own[name].shape[0]
    if len(old) == rows or old.shape[1:] != own[name].shape[1:]:
        return
    if not resize:
        raise RequestError(
            f"{source} has a vocabulary of {len(old)}, this tokenizer one of {rows}.\n"
            "Leave tokenizer=... out to take that model's own, or type init.resize_vocab=true: known ids keep their "
            "rows, new ones start as the mean of the old."
        )
    state[name] = resized(old, rows)
    report.resized.append(name)


def vocabulary_names(model: LanguageModel, own: dict[str, Tensor]) -> list[str]:
    """Tensors with a row for each id, under all the names that tied ones have."""
    wrapped = getattr(model, "hf", None)
    if wrapped is None or not model.encodes_source:
        return [EMBEDDING, HEAD]
    places = {part.weight.data_ptr() for part in (wrapped.get_input_embeddings(), wrapped.get_output_embeddings())}
    return [name for name, value in own.items() if value.data_ptr() in places]


def resized(old_VC: Tensor, rows: int) -> Tensor:
    """The first `rows` rows; new ones are the mean of the old, so that no new id is likelier than the average one."""
    if rows <= len(old_VC):
        return old_VC[:rows]
    mean = old_VC.float().mean(dim=0, keepdim=True).to(old_VC.dtype)
    return torch.cat([old_VC, mean.expand(rows - len(old_VC), -1)])


def _fit_positions(state: dict[str, Tensor], own: dict[str, Tensor], report: Report) -> None:
    """A shorter context than the source's keeps the first positions."""
    if POSITION in state and POSITION in own and len(state[POSITION]) > len(own[POSITION]):
        state[POSITION] = state[POSITION][: len(own[POSITION])]
        report.resized.append(POSITION)


def _few(lines: list[str]) -> str:
    return "\n".join(lines[:8]) + ("\n  ..." if len(lines) > 8 else "")


def _some(names: list[str]) -> str:
    return ", ".join(names[:6]) + (", ..." if len(names) > 6 else "")


def _advice(missing: list[str]) -> str:
    if any(name.endswith("mlp.router.weight") for name in missing):
        return "\nIt is dense: type init.upcycle=copy, and each expert starts as its MLP."
    return "\nLeave model=... and tokenizer=... out, and they are taken from there."
