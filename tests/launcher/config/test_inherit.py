"""What a run takes from an earlier one: init_from= sections, resume= everything but the horizon."""

from pathlib import Path

import pytest
from omegaconf import OmegaConf

from errors import RequestError
from launcher.cli import main
from launcher.config.compose import Plan, compose
from launcher.config.inherit import _take
from launcher.jobs.run_folder import save_config
from launcher.lab import Lab


@pytest.fixture
def earlier(toy: Lab, tmp_path: Path) -> Path:
    """The folder of a run with a large model of width 7 on its own data."""
    folder = tmp_path / "run=1 x"
    folder.mkdir()
    plan = compose(["model=large", "model.width=7", "model.depth=3", "data.path=mine", "objective.beta=0.3"], toy)
    save_config(folder, plan.cfg, plan.hydra, plan.overrides)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").touch()
    return folder


def saved_and_reloaded(plan: Plan, folder: Path, lab: Lab) -> Plan:
    folder.mkdir()
    save_config(folder, plan.cfg, plan.hydra, plan.overrides)
    return compose([f"resume={folder}"], lab)


def test_init_from_brings_the_model(earlier: Path, toy: Lab) -> None:
    plan = compose([f"init_from={earlier}"], toy)
    assert (plan.cfg.model.width, plan.cfg.model.depth, plan.choices["model"]) == (7, 3, "large")
    assert plan.cfg.data.path is None, "a new training has its own data"


def test_init_from_brings_data_and_objective_where_nothing_is_trained(earlier: Path, toy: Lab) -> None:
    plan = compose(["task=say", f"init_from={earlier}"], toy)
    assert (plan.cfg.data.path, plan.cfg.objective.beta) == ("mine", 0.3)


def test_init_from_a_checkpoint_file(earlier: Path, toy: Lab) -> None:
    assert compose([f"init_from={earlier}/checkpoints/last.ckpt"], toy).cfg.model.width == 7


def test_what_is_typed_stands_above_what_is_inherited(earlier: Path, toy: Lab) -> None:
    plan = compose(["task=say", f"init_from={earlier}", "model.rate=0.9", "data.path=other"], toy)
    assert (plan.cfg.model.width, plan.cfg.model.rate, plan.cfg.data.path) == (7, 0.9, "other")
    assert compose([f"init_from={earlier}", "model=small"], toy).cfg.model.width == 8


def test_inherited_sections_are_inherited_again(earlier: Path, toy: Lab, tmp_path: Path) -> None:
    again = saved_and_reloaded(compose([f"init_from={earlier}"], toy), tmp_path / "second", toy)
    assert (again.cfg.model.width, again.choices["model"]) == (7, "large")


def test_init_from_nothing_says_what_there_is(earlier: Path, toy: Lab) -> None:
    with pytest.raises(RequestError, match="there is no such folder or file") as caught:
        compose([f"init_from={earlier.parent}/run=2"], toy)
    assert str(earlier) in str(caught.value)


def test_init_from_a_hub_id_asks_what_knows_the_models_of_others(toy: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("launcher.config.inherit.resolve_target", lambda target: asked.append)
    assert compose(["init_from=openai-community/gpt2"], toy).cfg.init_from == "openai-community/gpt2"
    assert asked == ["openai-community/gpt2"]


def test_resume_takes_everything_from_the_saved_run(earlier: Path, toy: Lab) -> None:
    plan = compose([f"resume={earlier}", "trainer.max_steps=20"], toy)
    assert (plan.cfg.model.width, plan.cfg.objective.beta, plan.cfg.trainer.max_steps) == (7, 0.3, 20)
    assert plan.cfg.resume == plan.cfg.run_dir == str(earlier)
    assert plan.overrides[0] == "model=large"
    assert plan.overrides[-1] == "trainer.max_steps=20"


@pytest.mark.parametrize("word", ["model.width=9", "seed=3", "model=small", "run_dir=x", "hydra.verbose=true"])
def test_resume_refuses_anything_else(word: str, earlier: Path, toy: Lab) -> None:
    with pytest.raises(RequestError, match="cannot be changed by") as caught:
        compose([f"resume={earlier}", word], toy)
    assert "type init_from=RUN_DIR" in str(caught.value)


def test_resume_goes_only_further(earlier: Path, toy: Lab) -> None:
    with pytest.raises(RequestError, match="was to take 10 steps"):
        compose([f"resume={earlier}", "trainer.max_steps=9"], toy)
    with pytest.raises(RequestError, match="expected a whole number"):
        compose([f"resume={earlier}", "trainer.max_steps=many"], toy)


def test_resume_from_no_run(earlier: Path, toy: Lab) -> None:
    with pytest.raises(RequestError, match="is not a run folder"):
        compose([f"resume={earlier.parent}"], toy)
    with pytest.raises(RequestError, match="does not exist"):
        compose([f"resume={earlier}x"], toy)


@pytest.mark.parametrize("text", ["", "- a\n- b\n", "model: [", "\x00\x01", "just words"])
def test_a_damaged_record_is_a_wrong_request(text: str, earlier: Path, toy: Lab) -> None:
    (earlier / ".hydra/config.yaml").write_text(text)
    with pytest.raises(RequestError):
        compose([f"resume={earlier}"], toy)
    (earlier / ".hydra/config.yaml").write_text("seed: 1\n")
    (earlier / ".hydra/hydra.yaml").write_text(text)
    with pytest.raises(RequestError):
        compose([f"resume={earlier}"], toy)


def test_N5_rerun_repeats_a_run_in_a_new_folder(earlier: Path, toy: Lab) -> None:
    plan = compose([f"rerun={earlier}"], toy)
    again = {**plan.cfg, "rerun": None}
    assert again == {**compose(plan.overrides[:-1], toy).cfg}, "the same config, word for word"
    assert (plan.cfg.model.width, plan.cfg.run_dir, plan.choices["model"]) == (7, None, "large")
    assert compose([f"rerun={earlier}", "seed=5"], toy).cfg.seed == 5
    with pytest.raises(RequestError, match="model=small cannot be chosen anew"):
        compose([f"rerun={earlier}", "model=small"], toy)
    with pytest.raises(RequestError, match="give one of them"):
        compose([f"rerun={earlier}", f"resume={earlier}"], toy)


@pytest.mark.parametrize("key", ["resume", "rerun"])
def test_several_values_beside_a_run_that_is_done_again_are_refused(
    key: str, earlier: Path, toy: Lab, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(RequestError, match=f"seed=5,6: several values, and {key}= is one run"):
        compose([f"{key}={earlier}", "seed=5,6"], toy, multirun=True)
    assert main(["-m", f"{key}={earlier}"], toy.root) == 2, "nothing would be done"
    assert "without -m" in capsys.readouterr().err


def test_a_home_folder_may_be_written_short(toy: Lab, monkeypatch: pytest.MonkeyPatch, earlier: Path) -> None:
    monkeypatch.setenv("HOME", str(earlier.parent))
    assert compose([f"init_from=~/{earlier.name}"], toy).cfg.init_from == str(earlier)


ROOT = Path(__file__).parents[3]
SAVED = "tests/fixtures/run_of_a56f643"  # a small model=gpt on a text


@pytest.mark.parametrize("words", [[], ["experiment=dpo_arithmetic"], ["objective=dpo"], ["data=text", "data.path=x"]])
def test_a_check_plans_the_run_that_the_same_line_starts(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    run, plan = (compose([*task, f"init_from={SAVED}", *words], Lab(ROOT)).cfg for task in ([], ["task=check"]))
    assert {**plan, "task": None} == {**run, "task": None}


def test_what_an_experiment_says_stands_above_what_is_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = compose([f"init_from={SAVED}", "experiment=architecture/softcap"], Lab(ROOT))
    assert (plan.choices["model"], plan.cfg.model.softcap) == ("modern", 15.0)
    plan = compose([f"init_from={SAVED}", "experiment=shakespeare_fast_cpu", "data.path=x"], Lab(ROOT))
    assert (plan.choices["model"], plan.choices["tokenizer"]) == ("ngram_gpt", "char")
    assert compose([f"init_from={SAVED}", "experiment=demo"], Lab(ROOT)).cfg.model.n_embd == 2, "it says nothing of it"


def test_keys_of_an_experiment_are_not_laid_over_another_runs_data() -> None:
    cfg, hydra = OmegaConf.create({"data": {}, "model": {}}), OmegaConf.create({"runtime": {"choices": {}}})
    taken = {name: OmegaConf.create({"theirs": 1}) for name in ("data", "model")}
    written = [OmegaConf.create({"data": {"ours": 2}, "model": {"ours": 2}})]
    _take(cfg, hydra, taken, {}, named=set(), written=written)
    assert cfg == {"data": {"theirs": 1}, "model": {"theirs": 1, "ours": 2}}


def test_single_keys_of_an_experiment_are_as_if_they_were_typed(earlier: Path, toy: Lab) -> None:
    plan = compose(["experiment=wide", f"init_from={earlier}"], toy)
    assert (plan.cfg.model.width, plan.cfg.model.depth, plan.choices["model"]) == (16, 3, "large")
