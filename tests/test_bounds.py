"""F22: what each number of each option may be, at its ends and beyond: through the schema, which reads source, against
the annotations as Python has them.
"""

import contextlib
import inspect
import math
import signal
import time
import types
from collections.abc import Callable, Iterator
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest
from omegaconf import DictConfig, OmegaConf

from bounds import Bound, MayBeEmpty, above, at_least, at_most, below, between, expression
from errors import RequestError
from launcher.cli import FLAGS
from launcher.config import standard
from launcher.config.checking import value_problem
from launcher.config.compose import compose
from launcher.config.instantiate import resolve_target, signature_of
from launcher.config.nodes import has_target, node_at
from launcher.config.schema import Schema
from launcher.help.screens import help_text
from stopping import time_limit
from tests.test_configs import LAB, OPTIONS, RECIPES, composed

MISSING = object()
# numbers that may be anything: below 0 nothing is dropped, short texts are favoured, and a reward may punish
NO_LEAST = (
    {"gbft.tol", "objective.truncated_score", "length_penalty", "evaluate.length_penalty", "evaluate.accept"}
    | {"generate.accept"}
    | {f"reward.{part}.weight" for part in ("answer", "format", "length", "reward_model", "verifier")}
)
OTHERS = [math.nan, math.inf, -math.inf, 2**63, None, "text", "", [0], ["text"], [], {}, True]


@pytest.mark.parametrize(
    ("bound", "inside", "outside"),
    [
        (at_least(1), [1, 2], [0, 0.999]),
        (above(0), [1e-300], [0, -1]),
        (at_most(1), [1, -5], [1.001]),
        (below(1), [0.999], [1]),
        (between(0, 1), [0, 0.5, 1], [-0.001, 1.001]),
    ],
)
def test_ends_of_a_bound(bound: Bound, inside: list[float], outside: list[float]) -> None:
    assert all(bound.holds(number) for number in inside)
    assert not any(bound.holds(number) for number in outside)
    assert not bound.holds(math.nan)


def evaluated(annotation: Any, owners: list[dict[str, Any]]) -> Any:
    """An annotation that `from __future__ import annotations` left as text, where the class or a base has its names."""
    for names in owners:
        if isinstance(annotation, str):
            with contextlib.suppress(NameError):
                annotation = eval(annotation, dict(names))
    return annotation


def hints_of(key: str, node: DictConfig, cfg: DictConfig) -> dict[str, Any]:
    """Annotations of the keys of a section, as Python has them: of its target, of the task, of a record."""
    if key == "task":
        return {}
    if has_target(node):
        target = resolve_target(node._target_)
        owners = [vars(inspect.getmodule(owner)) for owner in getattr(target, "__mro__", [target])]
        parameters = signature_of(target).parameters
        return {name: evaluated(p.annotation, owners) for name, p in parameters.items()}
    first, *rest = (key or "Standard").split(".")
    beside = (inspect.getmodule(resolve_target(cfg.task._target_)), standard)
    record: Any = next((found for m in beside if (found := getattr(m, first.title(), None)) is not None), None)
    for part in rest:
        record = get_type_hints(record, include_extras=True).get(part) if record is not None else None
    keyed = inspect.isclass(record) and get_origin(record) is None  # not a dictionary of the user's own names
    found = get_type_hints(record, include_extras=True) if keyed else {}
    if not key:
        parameters = inspect.signature(resolve_target(cfg.task._target_)).parameters
        found |= {name: p.annotation for name, p in parameters.items() if p.kind == p.KEYWORD_ONLY}
    return found


def allowed(value: Any, hint: Any) -> bool:
    """The rule, on Python's own types."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (types.UnionType, Union):
        return any(allowed(value, part) for part in parts)
    if origin is Annotated:
        inner, *marks = parts
        if any(isinstance(mark, MayBeEmpty) for mark in marks) and value == "":
            return True
        return allowed(value, inner) and all(mark.holds(value) for mark in marks if isinstance(mark, Bound))
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in parts)
    if hint is float:
        return allowed(value, int) or (type(value) is float and math.isfinite(value))
    if hint is int:
        return type(value) is int and abs(value) < 2**63
    if hint is str:
        return type(value) is str and value != ""
    if origin is list:
        return type(value) is list and all(allowed(item, parts[0]) for item in value)
    if origin is tuple:
        return type(value) is list and len(value) == len(parts) and all(map(allowed, value, parts))
    if origin is dict:
        return type(value) is dict and all(allowed(item, parts[1]) for item in value.values())
    assert hint in (None, type(None), bool), hint
    return value is None if hint is not bool else type(value) is bool


def numbers_in(hint: Any) -> Iterator[tuple[type, list[Bound]]]:
    """The numeric types inside a hint, each with its bounds."""
    if hint in (int, float):
        yield hint, []
    elif get_origin(hint) is Annotated and get_args(hint)[0] in (int, float):
        yield get_args(hint)[0], [mark for mark in get_args(hint)[1:] if isinstance(mark, Bound)]
    elif get_origin(hint) not in (Literal, Callable):
        for part in get_args(hint):
            yield from numbers_in(part)


def values_around(hint: Any) -> list[Any]:
    """At each end of each bound, one below and one above; for a list or a dictionary of numbers, inside one."""
    ends = [end for _, marks in numbers_in(hint) for m in marks for end in (m.low, m.high) if math.isfinite(end)]
    plain = [value for end in ends or [0] for value in (end - 1, end - 0.25, end, end + 0.25, end + 1)]
    shaped = [shape for value in plain for shape in ([value], [value, value], {"name": value})]
    return [*plain, *shaped, *OTHERS]


def sections(node: DictConfig, key: str = "") -> Iterator[tuple[str, DictConfig]]:
    yield key, node
    for name in node:
        if isinstance(child := node_at(node, str(name)), DictConfig):
            yield from sections(child, f"{key}.{name}" if key else str(name))


def numeric_keys(cfg: DictConfig, schema: Schema) -> Iterator[tuple[str, Any]]:
    """Dotted keys that take numbers, with their hints."""
    for key, node in sections(cfg):
        hints = hints_of(key, node, cfg)
        for name in schema.params(key)[0]:
            hint = hints.get(name, MISSING)
            if hint is not MISSING and list(numbers_in(hint)):
                yield f"{key}.{name}" if key else name, hint


def test_F22_the_walk_meets_what_it_should() -> None:
    plan = composed("task", "evaluate")
    met = {key for key, _ in numeric_keys(plan.cfg, Schema(plan.cfg, plan.choices, LAB))}
    assert {"seed", "evaluate.shots", "trainer.max_steps", "model.n_layer", "optimizer.betas", "data.workers"} <= met
    plan = composed("task", "generate")
    assert {"top_p", "n"} <= {key for key, _ in numeric_keys(plan.cfg, Schema(plan.cfg, plan.choices, LAB))}


# what options inherit from one another is tried in the first that has it
TRIED: set[tuple[str, str, str | None]] = set()


def target_above(cfg: DictConfig, key: str) -> str | None:
    """The `_target_` of the section that a dotted key lies in."""
    return OmegaConf.select(cfg, f"{key.rpartition('.')[0]}._target_")


@pytest.mark.parametrize(
    ("group", "option"), [one for one in OPTIONS if one[0] not in RECIPES]
)  # those have no keys of their own
def test_F22_every_number_of_every_option(group: str, option: str) -> None:
    cfg = composed(group, option).cfg.copy()
    OmegaConf.set_struct(cfg, False)
    schema = Schema(cfg, composed(group, option).choices, LAB)
    homes = {"hardware": {"trainer"}, "task": set(map(str, cfg)) - LAB.groups.keys()}.get(group, {group})
    for key, hint in numeric_keys(cfg, schema):
        if key.split(".")[0] not in homes or (key, str(hint), target_above(cfg, key)) in TRIED:
            continue
        TRIED.add((key, str(hint), target_above(cfg, key)))
        for _, marks in numbers_in(hint):
            assert key in NO_LEAST or any(math.isfinite(mark.low) for mark in marks), f"{key}: no least value is said"
        parent, _, leaf = key.rpartition(".")
        node = OmegaConf.select(cfg, parent) if parent else cfg
        before = node._content.get(leaf)
        for value in values_around(hint):
            OmegaConf.update(cfg, key, value, merge=False, force_add=True)
            problem = value_problem(schema, key, schema.params(parent)[0][leaf])
            assert (problem is None) == allowed(value, hint), f"{key}={value!r} as {hint}: {problem}"
        node._content[leaf] = before
        if before is None:
            del node._content[leaf]


REFUSED = """
    trainer.max_steps=0 trainer.max_steps=-1 trainer.val_every=0 trainer.checkpoint_every=0 trainer.log_every=0
    trainer.grad_clip=-1 trainer.grad_clip=0 trainer.accumulate=0 trainer.tokens_per_step=0 trainer.devices=0
    trainer.nodes=0 seed=-1 seed=4294967296 model.dropout=1.5 model.dropout=1 model.n_layer=0 model.seq_len=0
    optimizer.lr=nan optimizer.lr=inf optimizer.lr=-1 optimizer.betas=[0.9,1.0] optimizer.eps=0
    optimizer.weight_decay=-1 schedule.warmup_steps=-5 schedule.final_ratio=1.5 data.batch_size=0 data.workers=-1
    data.val_fraction=1 data.stride=0 init.upcycle_noise=-1 callbacks.attention.tokens=0
    callbacks.sample_text.temperature=-1 trainer.max_steps=null trainer.max_steps=[1] trainer.max_steps=many
"""


@pytest.mark.parametrize("word", REFUSED.split())
def test_F22_out_of_range_is_said_at_once(word: str) -> None:
    key = word.split("=")[0]
    with pytest.raises(RequestError, match=rf"{key}=.*: expected .*\(.*\)"):
        compose([word], LAB)


def test_F22_help_says_what_a_number_may_be() -> None:
    shown = help_text(["trainer", "hardware=cpu", "model=moe", "task=generate", "task=evaluate"], LAB, FLAGS)
    lines = {line.split("=")[0].strip(): line for line in shown.splitlines()}
    assert lines["trainer.max_steps"].endswith("optimizer updates (1 or more)")
    assert lines["trainer.devices"].endswith("(1 or more)")
    assert lines["model.moe.jitter"].endswith("(0 or more, below 1)")
    assert lines["top_p"].endswith("(above 0, at most 1)")
    assert lines["evaluate.shots"].endswith("(0 or more)")
    assert "(" not in lines["trainer.profile"].rpartition("profile.txt")[2]


def test_F25_work_ends_after_its_share_of_the_processor_and_what_was_set_is_set_again() -> None:
    """A match of `re` has no end of its own: 2 ** 60 ways to divide this text."""
    before = signal.getsignal(signal.SIGVTALRM)
    with pytest.raises(TimeoutError), time_limit(0.05, TimeoutError(), clock="work"):
        expression("(a+)+$").search("a" * 60 + "b")
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)
    with time_limit(0.05, TimeoutError(), clock="work"):
        time.sleep(0.1)  # no work
