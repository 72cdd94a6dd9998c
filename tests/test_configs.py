"""Every shipped config: composed, its `_target_`s bound, its keys explained; and every key of it misspelled (N2)."""

import contextlib
import functools
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from errors import RequestError
from launcher.config.annotations import is_free_dict
from launcher.config.checking import check
from launcher.config.compatibility import _provided
from launcher.config.compose import Plan, apply, compose
from launcher.config.instantiate import resolve_target, signature_of
from launcher.config.overrides import parse
from launcher.config.schema import Schema
from launcher.config.source import read_target
from launcher.help.comments import read_help
from launcher.lab import Lab

LAB = Lab(Path(__file__).parents[1])
FILES = sorted([*LAB.conf.rglob("*.yaml"), *(LAB.root / "sweeps").rglob("*.yaml")])
OPTIONS = [(group, option) for group, options in LAB.groups.items() for option in options]
# what has no default: anything will do, it is not opened
RECIPES = ("experiment", "debug", "sweeps")
REQUIRED = (
    {("data", name): ["data.path=x"] for name in ("text", "bin", "chat", "hf", "crawl", "preference", "judged_pairs")}
    | {(group, name): ["objective=gbft"] for group in ("gbft", "learner") for name in LAB.groups[group]}
    | {("reward", name): ["objective=grpo"] for name in LAB.groups["reward"]}
    | {("benchmark", name): ["task=evaluate"] for name in LAB.groups["benchmark"]}
    | {
        ("tokenizer", "hf"): ["tokenizer.name=x"],
        ("model", "hf"): ["model.path=x"],
        ("data", "source_target"): ["data.path=x", "data.source=a", "data.target=b"],
        ("model", "hf_seq2seq"): ["model.path=x", "objective=sft"],
        ("model", "t5"): ["objective=sft"],
    }
)
# filled in by tasks, never by a config
INJECTED = {
    *("vocab_size", "tokenizer", "model", "params", "optimizer", "schedule", "token_bytes", "seed", "grad_clip"),
    *("base", "data", "log_every", "compile_model", "run_dir", "seq_len", "callbacks", "loggers", "start_step", "step"),
    *("strategy", "adapter", "run", "load_model", "max_steps", "accelerator", "reward", "began"),
}


NAMED_BY_USERS = ("pipeline.stages.", "pipeline.ways.")  # any name is a stage or a way

# what the data provides -> an objective that takes it; causal_lm takes tokens
OBJECTIVES = {"conversations": "sft", "pairs": "dpo", "labels": "kto", "judged": "verifier"}


def words_for(group: str, option: str) -> list[str]:
    provided = _provided(option, LAB) if group == "data" else ()
    objective = [f"objective={OBJECTIVES[kind]}" for kind in provided if kind in OBJECTIVES]
    return [f"{group}={option}", *objective, *REQUIRED.get((group, option), [])] + (
        ["data.path=x"] if group == "experiment" and {"data=text", "data=crawl"} & defaults_of(group, option) else []
    )


def defaults_of(group: str, option: str) -> set[str]:
    """Options that a recipe chooses: {"data=text", ...}."""
    text = LAB.groups[group][option].read_text(encoding="utf-8")
    return {f"{g}={o}" for g, o in re.findall(r"- override /(\w+): (\S+)", text)}


@functools.cache
def composed(group: str, option: str) -> Plan:
    return compose(words_for(group, option), LAB, multirun=group == "sweeps")


def sections(node: DictConfig, key: str = "") -> Iterator[tuple[str, DictConfig]]:
    """Everything with a `_target_`, at any depth."""
    if "_target_" in node:
        yield key, node
    for name in node:
        child = node._get_node(name)
        if isinstance(child, DictConfig):
            yield from sections(child, f"{key}.{name}" if key else str(name))


def own_keys(group: str, option: str) -> Iterator[str]:
    """Dotted keys that the option's own file writes."""
    file = LAB.groups[group][option]
    package = re.search(r"# @package (\S+)", file.read_text(encoding="utf-8"))
    prefix = "" if package and package[1] == "_global_" else f"{package[1] if package else group}."
    keys = (f"{prefix}{key}" for key in read_help(file).keys)
    yield from (key for key in keys if not key.startswith(NAMED_BY_USERS))


def is_a_part(cfg: DictConfig, key: str) -> bool:
    """A named part among others, such as callbacks.progress: another name for it is no mistake."""
    node = OmegaConf.select(cfg, key)
    return isinstance(node, DictConfig) and "_target_" in node and "." in key


def test_all_files_are_found() -> None:
    assert len(FILES) == len(OPTIONS) + 1  # and config.yaml
    assert len(OPTIONS) >= 75
    promised = {"gpt", "gpt2", "gpt2_medium", "gpt2_large", "gpt2_xl", "modern", "llama", "nanochat", "moe", "hf"}
    assert promised <= LAB.groups["model"].keys()
    assert {"byte", "char", "bpe", "sentencepiece", "tiktoken", "hf"} <= LAB.groups["tokenizer"].keys()
    assert {"auto", "cpu", "gpu", "a100", "ddp", "fsdp", "ddp_cpu", "mps"} <= LAB.groups["hardware"].keys()


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_composes(group: str, option: str) -> None:
    plan = composed(group, option)
    assert plan.choices[group] == option
    OmegaConf.to_container(plan.cfg, resolve=True, throw_on_missing=True)


@pytest.mark.parametrize(
    ("words", "optimizer"),
    [
        (["objective=sft"], "adamw_small"),
        (["objective=sft", "model=t5"], "adamw_t5"),
        (["objective=sft", "model=t5", "data=docstring_summaries"], "adamw_t5"),
        (["objective=sft", "model=t5", "optimizer=muon_small"], "muon_small"),
        (["objective=span_corruption"], "adamw_t5"),
        (["objective=dpo", "data=arithmetic_pairs"], "adamw_finetune"),
    ],
    ids=str,
)
def test_a_model_chooses_its_optimizer_above_data_and_below_objectives_and_what_is_typed(words, optimizer) -> None:
    assert compose(words, LAB, multirun=False).choices["optimizer"] == optimizer


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_target_binds(group: str, option: str) -> None:
    """Compares with the signature of the real object, which is what the `ast` reading must agree with."""
    for key, node in sections(composed(group, option).cfg):
        target = resolve_target(node._target_)
        params = signature_of(target).parameters
        given = {str(name) for name in node} - {"_target_", "_partial_"}
        if key != "task":
            assert given <= params.keys(), key
            required = {n for n, p in params.items() if p.default is p.empty and p.kind != p.VAR_KEYWORD}
            assert required - given <= INJECTED, key
            keys = set(read_target(node._target_, LAB, key=key).params)
            assert keys <= keyword_only(target), key
            for passed in keyword_only(target) - keys:  # by a class to its base: it cannot be given as well
                with pytest.raises(TypeError, match=f"multiple values for keyword argument '{passed}'"):
                    target(**dict.fromkeys({*given, passed}))


def keyword_only(target: Any) -> set[str]:
    """Names of keyword-only parameters; where **kwargs go on to the base class, also its own."""
    names: set[str] = set()
    for owner in target.__mro__ if inspect.isclass(target) else [target]:
        if inspect.isclass(owner) and "__init__" not in vars(owner):
            continue
        params = inspect.signature(vars(owner)["__init__"] if inspect.isclass(owner) else owner).parameters.values()
        names |= {p.name for p in params if p.kind == p.KEYWORD_ONLY}
        if not any(p.kind == p.VAR_KEYWORD for p in params):
            break
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(LAB.root).as_posix())
def test_every_option_and_key_has_a_line_of_help(file: Path) -> None:
    written = read_help(file)
    assert len(written.about) > 5, "the first line of the file should say what it is for"
    if set(file.relative_to(LAB.root).parts) & set(RECIPES):
        return  # their keys are explained where they come from
    untold = [key for key, k in written.keys.items() if not k.is_section and not k.help]
    assert [key for key in untold if not key.rpartition(".")[2].startswith("_")] == []


# of options that write the same keys, as the data sets of the Hub do, one is enough to misspell
DISTINCT = list({(group, *own_keys(group, option)): (group, option) for group, option in OPTIONS}.values())


def misspelled(key: str) -> str:
    """One letter less in the last name; one more where it is short."""
    parent, dot, leaf = key.rpartition(".")
    middle = len(leaf) // 2
    return parent + dot + (f"{leaf}x" if len(leaf) < 4 else leaf[:middle] + leaf[middle + 1 :])


@pytest.mark.parametrize(("group", "option"), DISTINCT)
def test_N2_every_key_misspelled_on_the_command_line(group: str, option: str) -> None:
    plan = composed(group, option)
    schema = Schema(plan.cfg, plan.choices, LAB)
    for key in own_keys(group, option):
        (override,) = parse([f"{misspelled(key)}=1"], LAB, multirun=False)
        with pytest.raises(RequestError) as caught:
            apply(override, schema)
        assert f"Did you mean {key}?" in str(caught.value)


@pytest.mark.parametrize(("group", "option"), DISTINCT)
def test_N2_every_key_misspelled_in_its_file(group: str, option: str) -> None:
    plan = composed(group, option)
    for key in own_keys(group, option):
        if is_a_part(plan.cfg, key):
            continue
        with pytest.raises(RequestError) as caught, renamed(plan.cfg, key, misspelled(key)):
            check(Schema(plan.cfg, plan.choices, LAB))
        assert f"Did you mean {key}?" in str(caught.value) or "_target_" in key or "_partial_" in key


@pytest.mark.parametrize(("group", "option"), DISTINCT)
def test_N2_every_key_one_level_off(group: str, option: str) -> None:
    plan = composed(group, option)
    schema = Schema(plan.cfg, plan.choices, LAB)
    valid = set(schema.valid_keys())
    for key in own_keys(group, option):
        parent, _, leaf = key.rpartition(".")
        free = is_free_dict(schema.params(parent)[0][leaf].annotation, schema.aliases(parent))
        for wrong in {f"{parent.rpartition('.')[0]}.{leaf}".lstrip("."), f"{parent}.{leaf}.{leaf}".lstrip(".")} - {key}:
            if free and wrong.startswith(f"{key}."):
                continue  # its keys are the user's own
            if wrong in valid:
                continue  # also a key, of something else: seed
            (override,) = parse([f"{wrong}=1"], LAB, multirun=False)
            with pytest.raises(RequestError) as caught:
                apply(override, schema)
            assert re.search(rf"(Did you mean [\w.]*\b|is a key of .*\n.*\b){leaf}\b", str(caught.value)), wrong


@pytest.mark.parametrize(("group", "option"), DISTINCT)
def test_N2_every_key_in_a_section_misspelled_is_that_of_the_section(group: str, option: str) -> None:
    """The nearest key of the same section, whatever is called so elsewhere; the group itself is told of elsewhere."""
    plan = composed(group, option)
    schema = Schema(plan.cfg, plan.choices, LAB)
    for key in own_keys(group, option):
        names = key.split(".")
        for at in range(1, len(names) - 1):
            wrong = ".".join([*names[:at], misspelled(names[at]), *names[at + 1 :]])
            with pytest.raises(RequestError) as caught:
                schema.find(wrong)
            assert f"Did you mean {key}?" in str(caught.value), wrong


@pytest.mark.parametrize(
    ("words", "typed", "told"),
    [
        ("task=pipeline experiment=alignment", "pipeline.stags.dpo=null", "Did you mean pipeline.stages.dpo?"),
        ("data=mixture data.paths={a:x}", "data.wieghts.a=1", "Did you mean data.weights.a?"),
        ("objective=grpo", "reward.format.patern=x", "Type: reward=format reward.format.pattern=x"),
        ("objective=grpo", "reward.format.pattern=x", "Type: reward=format reward.format.pattern=x"),
        ("model=gpt", "model.moe.n_experts=4", "Type: model=moe model.moe.n_experts=4"),
        ("data=pydoc", "data.max_steps=4", "Type: data=arithmetic data.max_steps=4\nOr: trainer.max_steps=4"),
        ("model=gpt", "model.lr=1", "Type: optimizer.lr=1"),
    ],
)
def test_N2_a_key_of_another_option_of_the_group_names_that_option(words: str, typed: str, told: str) -> None:
    plan = compose(words.split(), LAB)
    (override,) = parse([typed], LAB, multirun=False)
    with pytest.raises(RequestError, match=re.escape(told)):
        apply(override, Schema(plan.cfg, plan.choices, LAB))


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("pipline.stages", "task=pipeline pipeline.stages=1"), ("evalute.n", "task=evaluate evaluate.n=1"),
     ("modle.n_layer", "model.n_layer=1")],
)  # fmt: skip
def test_N2_a_section_of_another_task_misspelled_names_that_task(typed: str, meant: str) -> None:
    plan = compose([], LAB)
    (override,) = parse([f"{typed}=1"], LAB, multirun=False)
    with pytest.raises(RequestError, match=f"Type: {meant}$"):
        apply(override, Schema(plan.cfg, plan.choices, LAB))


@contextlib.contextmanager
def renamed(cfg: DictConfig, key: str, other: str) -> Iterator[None]:
    """Within it, the key has another name."""
    parent, _, leaf = key.rpartition(".")
    node = OmegaConf.select(cfg, parent) if parent else cfg
    before = node._content
    wrong = other.rpartition(".")[2]
    node.__dict__["_content"] = {wrong if name == leaf else name: child for name, child in before.items()}
    try:
        yield
    finally:
        node.__dict__["_content"] = before
