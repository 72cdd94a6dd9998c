"""N33: a config builds only what this program defines, by resolved identity: typed, in files, in saved runs."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from errors import RequestError
from launcher.config.compose import compose
from launcher.config.instantiate import build, resolve_target
from launcher.lab import Lab

FOREIGN = [
    "os.system",
    "logging.os.system",
    "models.gpt.torch.os.system",
    "models.toy.os.system",
    "builtins.eval",
    "subprocess.run",
    "launcher.config.instantiate.build",
    "models.toy.Toy.__init__",
    "models.toy",
    "lightning.pytorch.callbacks.early_stopping.torch.hub.load",
]


@pytest.mark.parametrize("target", FOREIGN)
def test_N33_refused_on_the_command_line(target: str, toy: Lab) -> None:
    with pytest.raises(RequestError, match="is refused"):
        compose([f"model._target_={target}"], toy)
    for word in (f"callbacks.x._target_={target}", f"model.act._target_={target}"):
        with pytest.raises(RequestError):
            compose([word], toy)


@pytest.mark.parametrize("target", FOREIGN)
def test_N33_refused_in_a_file(target: str, own_root: Path) -> None:
    (own_root / "conf/model/evil.yaml").write_text(f"_target_: {target}\n")
    with pytest.raises(RequestError, match=r"model\._target_"):
        compose(["model=evil"], Lab(own_root))


def test_N33_refused_deep_inside(own_root: Path) -> None:
    lab = Lab(own_root)
    for yaml in ("model:\n  extra:\n    a: {_target_: os.system}\n", "model:\n  sizes: [{_target_: os.system}]\n"):
        (own_root / "conf/experiment/evil.yaml").write_text("# @package _global_\n" + yaml)
        with pytest.raises(RequestError):
            compose(["experiment=evil"], lab)


@pytest.mark.parametrize("key", ["hydra.sweeper", "hydra.launcher", "hydra.callbacks.x"])
def test_N33_refused_under_hydra(key: str, toy: Lab) -> None:
    with pytest.raises(RequestError, match=r"refused|no key"):
        compose([f"++{key}._target_=os.system"], toy)


def test_N33_refused_in_a_saved_run(toy: Lab, tmp_path: Path) -> None:
    plan = compose([], toy)
    plan.cfg.model._target_ = "os.system"
    (tmp_path / ".hydra").mkdir()
    OmegaConf.save(plan.cfg, tmp_path / ".hydra/config.yaml")
    OmegaConf.save({"hydra": plan.hydra}, tmp_path / ".hydra/hydra.yaml")
    for word in (f"resume={tmp_path}", f"init_from={tmp_path}"):
        with pytest.raises(RequestError, match=r"os\.system is refused"):
            compose([word], toy)


@pytest.mark.parametrize(
    "target", ["models.base.torch", "tasks.parts.build", "os.system", "models.gpt.nothing", "models.no.X"]
)
def test_N33_identity_is_checked_again_when_built(target: str) -> None:
    with pytest.raises(RequestError):
        resolve_target(target)


def test_interpolated_targets_are_refused(toy: Lab) -> None:
    with pytest.raises(RequestError, match="_target_"):
        compose(["model._target_=${oc.env:HOME}"], toy)


def test_build_hands_over_plain_values_and_what_is_injected() -> None:
    schedule = OmegaConf.create({"_target_": "optimization.schedules.cosine", "_partial_": True, "warmup_steps": 1})
    made = build(schedule, total_steps=10)
    assert (made.func.__name__, made.keywords) == ("cosine", {"warmup_steps": 1, "total_steps": 10})
    tokenizer = build(OmegaConf.create({"_target_": "tokenization.byte.ByteTokenizer", "specials": ["<|endoftext|>"]}))
    assert type(tokenizer).__name__ == "ByteTokenizer"
    assert build(None) is None


def test_build_refuses_two_owners_of_a_value() -> None:
    with pytest.raises(RequestError, match="total_steps is filled in by the program"):
        build({"_target_": "optimization.schedules.cosine", "_partial_": True, "total_steps": 1}, total_steps=10)


def test_build_names_what_is_missing() -> None:
    with pytest.raises(RequestError, match="it needs warmup_steps, final_ratio, keys of its YAML"):
        build({"_target_": "optimization.schedules.cosine", "total_steps": 1})
    with pytest.raises(RequestError, match="unexpected keyword argument 'colour'"):
        build({"_target_": "tokenization.byte.ByteTokenizer", "specials": [], "colour": 1})
    # the same behind `**shared`, which takes every key
    data = {"_target_": "datamodules.arithmetic.ArithmeticDataModule", "batch_size": 2}
    with pytest.raises(RequestError, match=r"it needs .*seq_len"):
        build(data, tokenizer=None)
    with pytest.raises(RequestError, match="unexpected keyword argument 'colour'"):
        build(data | {"seq_len": 8, "colour": 1}, tokenizer=None)
