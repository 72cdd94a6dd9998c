"""task=pipeline: the course of its runs, what is refused before any work, a whole small one, and going on with it."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from omegaconf import OmegaConf

import folders
from errors import Interrupted, RequestError, RunError
from launcher.cli import main
from launcher.config.compose import compose
from launcher.jobs.chain import Step, joined
from launcher.jobs.run_folder import RunFolder
from launcher.lab import Lab
from reports.gains_runs import ways_in
from runs.removing import kinds_of
from tasks.pipeline import _cost, going_on, named, planned

ROOT = Path(__file__).parents[2]
LAB = Lab(ROOT)
JUDGES = {"verifier": "verifier.VerifierModule", "reward": "reward.RewardModule"}


def settings(**given: Any) -> dict[str, Any]:
    empty: dict[str, Any] = {"order": None, "aside": [], "every": None, "more": {}, "ways": {}, "examples": 1}
    return empty | {"questions": "task=evaluate benchmark=arithmetic", "stages": {}} | given


def composed(step: Step) -> Any:
    """What a plan says of itself, without composing one."""
    values = dict(word.split("=", 1) for word in step.words)
    target = f"lightning_modules.{JUDGES.get(values.get('objective', ''), 'sft.SFTModule')}"
    task = values.get("task", "fit")
    cfg = OmegaConf.create({"objective": {"_target_": target}, "task": {"_target_": f"tasks.{task}.{task}"}})
    return SimpleNamespace(choices={"task": task}, cfg=cfg)


def course(**given: Any) -> Any:
    return planned(settings(**given), 7, LAB, composed)


STAGES = {
    "base": "objective=sft",
    "drawn": "task=evaluate evaluate.samples=4",
    "dpo": "objective=dpo data.path={drawn}",
    "longer": "objective=sft init_from={base}",
    "verifier": "objective=verifier data.path={drawn} init_from={longer}",
}


def test_each_stage_starts_from_the_one_before_and_is_asked_the_same() -> None:
    found = course(stages=STAGES, aside=["longer"], ways={"picked": "evaluate.samples=8 evaluate.rerank={verifier}"})
    words = {name: " ".join(step.words) for name, step in found.steps.items()}
    assert list(words) == ["base", "asked/base", "drawn", "dpo", "asked/dpo", "longer", "asked/longer", "verifier",
                           "asked/picked"]  # fmt: skip
    assert words["base"] == "seed=7 objective=sft"
    assert words["drawn"] == "seed=7 task=evaluate evaluate.samples=4 init_from={base}"
    assert words["dpo"] == "seed=7 objective=dpo data.path={drawn} init_from={base}"
    assert words["verifier"].endswith("init_from={longer}")
    assert words["asked/dpo"] == "seed=7 task=evaluate benchmark=arithmetic init_from={dpo}"
    assert words["asked/picked"].endswith("evaluate.samples=8 evaluate.rerank={verifier} init_from={dpo}")
    assert found.answering == {"base": None, "dpo": "base", "longer": "dpo"}
    assert found.last == "dpo"


def test_stages_are_replaced_left_out_added_and_put_in_order() -> None:
    left_out = course(stages=STAGES | {"dpo": None, "longer": None, "verifier": None})
    assert left_out.last == "base"
    added = course(stages=STAGES | {"rl": "objective=grpo"}, aside=["longer"], ways={"greedy": ""})
    assert "init_from={dpo}" in added.steps["rl"].words
    assert added.last == "rl"
    order = ["base", "rl", "drawn", "dpo", "longer", "verifier"]
    between = course(stages=STAGES | {"rl": "objective=grpo data.path={before}"}, aside=["longer"], order=order)
    assert {"init_from={base}", "data.path={base}"} <= set(between.steps["rl"].words)
    assert "init_from={rl}" in between.steps["drawn"].words
    more = course(stages=STAGES, more={"base": "seed=3 trainer.max_steps=5"}, every="seed=2 hardware=cpu")
    assert {"seed=3", "hardware=cpu", "trainer.max_steps=5"} <= set(more.steps["base"].words)
    assert {"seed=2", "hardware=cpu"} <= set(more.steps["asked/base"].words)
    assert joined(["a=1", "b=2"], ["+a=3"]) == ("+a=3", "b=2")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "needs stages: type experiment=alignment"),
        ({"stages": {"base": "objective=sft"}, "questions": None}, "what is asked after each stage"),
        ({"stages": {"v": "objective=verifier"}}, "no stage trains a model that answers"),
        ({"stages": {"base": "objective=sft data.path={drawn}"}}, r"base: \{drawn\} is no stage before it"),
        ({"stages": {"base": "objective=sft data.path={before}"}}, r"\{before\} is no stage before it"),
        ({"stages": STAGES, "aside": ["longest"]}, "pipeline.aside: longest is no stage"),
        ({"stages": STAGES, "order": ["base"]}, "pipeline.order leaves drawn out"),
        ({"stages": STAGES, "ways": {"dpo": "evaluate.samples=2"}}, "pipeline.ways.dpo: a stage of that name"),
        ({"stages": {"asked": "objective=sft"}}, "asked cannot name a stage"),
        ({"stages": {"base": "objective='sft"}}, "cannot be parted into words"),
    ],
)
def test_what_stands_for_nothing_is_refused(given: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError, match=said):
        course(**given)


def test_words_that_no_stage_would_see_are_refused() -> None:
    own = ["task=pipeline", "experiment=alignment", "seed=1", "pipeline.every=hardware=cpu", "pipeline.ways.retry=null"]
    compose(own, LAB)
    with pytest.raises(RequestError, match=r"pipeline.every=optimizer.lr=3.* pipeline.more.NAME=optimizer.lr=3"):
        compose(["task=pipeline", "optimizer.lr=3"], LAB)


def test_a_word_for_every_run_is_one_that_some_run_reads() -> None:
    course(stages=STAGES, every="optimizer.lr=3 benchmark.n=5")
    with pytest.raises(RequestError, match=r"pipeline.every: no run reads learner=bias. Leave it out"):
        course(stages=STAGES, every="hardware=cpu learner=bias")


def test_what_a_row_cost_is_what_it_adds() -> None:
    found = course(stages=STAGES, aside=["longer"], ways={"picked": "evaluate.rerank={verifier}"})
    seconds = {name: 10.0**i for i, name in enumerate(found.steps)}
    assert _cost(found, seconds, "base", None) == 1.0
    assert _cost(found, seconds, "dpo", "base") == 100.0 + 1000.0, "drawn and dpo"
    assert _cost(found, seconds, "longer", "dpo") == 10.0**5
    assert _cost(found, seconds, "asked/picked", "dpo") == 10.0**5 + 10.0**7 + 10.0**8


def test_the_recipe_composes_stage_by_stage() -> None:
    """What each word means is known, and each stage finds its data: nothing is trained."""
    plan = compose(["experiment=alignment"], LAB)
    assert plan.choices["task"] == "pipeline"
    wanted: Any = OmegaConf.to_container(plan.cfg.pipeline)
    found = planned(wanted, 0, LAB, composed)
    assert found.last == "dpo"
    assert list(found.answering) == ["base", "sft", "dpo", "longer"]
    for name in ("sft", "drawn", "asked/sft"):
        compose([word for word in found.steps[name].words if not word.startswith("init_from=")], LAB)


def test_what_does_not_come_to_its_end_says_how_all_of_it_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    for error in (RunError("sft failed"), Interrupted(15)):
        with pytest.raises(type(error)), going_on(RunFolder(Path("outputs/my run"))):
            raise error
        assert "python run.py 'resume=outputs/my run'" in capfd.readouterr().err


# ---- a whole one -----------------------------------------------------------------------------------------------------

TINY = "callbacks=minimal logger=none trainer.max_steps=2 trainer.val_every=2 trainer.checkpoint_every=2"
SIZE = "model.n_layer=1 model.n_embd=16 model.n_head=2 model.seq_len=96"
SUM = "data.max_steps=1 data.val_examples=8"


def judged(folder: Path) -> Path:
    """Answers to 40 questions, one right and one wrong each."""
    folder.mkdir()
    lines = []
    for i in range(40):
        texts = [f"{i}+1=<<{i}+1={i + k}>>{i + k}\n#### {i + k}" for k in (1, 2)]
        lines.append({"question": f"Tom has {i} pens and buys 1 more.", "texts": texts, "labels": [True, False]})
    (folder / "predictions.jsonl").write_text("".join(json.dumps(x | {"kind": "number"}) + "\n" for x in lines))
    return folder


def words(tmp_path: Path) -> list[str]:
    own = judged(tmp_path / "answers")
    stages = {
        "base": f"objective=sft data=arithmetic {SUM} {SIZE} {TINY}",
        "dpo": f"objective=dpo data=judged_pairs data.path={own} {TINY} objective.cache_dir={tmp_path}/cache",
        "verifier": f"objective=verifier data.path={own} {TINY}",
    }
    ask = "task=evaluate benchmark=arithmetic benchmark.max_steps=1 benchmark.n=5 evaluate.max_new_tokens=6"
    return [
        *(f"pipeline.stages.{name}={typed}" for name, typed in stages.items()),
        *(f"pipeline.questions={ask}", "pipeline.ways.verifier=evaluate.samples=2 evaluate.rerank={verifier}"),
    ]


def test_a_fault_in_a_later_stage_comes_before_any_work(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    typed = ["task=pipeline", f"run_dir={run}", *words(tmp_path), "pipeline.stages.verifier=null"]
    assert main([*typed, "pipeline.more.dpo=objective.betta=1"], ROOT) == 2
    assert "objective.beta" in capfd.readouterr().err
    assert not run.exists()


@pytest.mark.slow
def test_a_whole_pipeline_and_going_on_in_the_middle(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = tmp_path / "run"
    typed = ["task=pipeline", f"run_dir={run}", "seed=5", *words(tmp_path)]
    assert main(typed, ROOT) == 0
    said = json.loads((run / "gains.json").read_text())
    assert [way["way"] for way in said["ways"]] == ["base", "dpo", "majority@2", "verifier@2"]
    assert [way.get("over") for way in said["ways"]] == [None, "base", "dpo", "majority@2"]
    assert said["questions"] == 5
    assert all(way["processor_seconds"]["asked"] > 0 for way in said["ways"])
    assert "not shown" in (run / "gains.md").read_text()
    saved = OmegaConf.load(run / "verifier/.hydra/config.yaml")
    assert saved.init_from == str(run / "dpo")
    assert saved.seed == 5
    assert "test/exact_match/verifier@2" in json.loads((run / "summary.json").read_text())["metrics"]
    # stopped while the verifier was trained, and in the evaluation before it
    for name in ("verifier", "asked/verifier"):
        (run / name / "summary.json").unlink()
    trained = {name: (run / name / "checkpoints/last.ckpt").stat().st_mtime_ns for name in ("base", "dpo")}
    capfd.readouterr()
    assert main([f"resume={run}"], ROOT) == 0
    out = capfd.readouterr().out
    assert out.count("finished before") == 4
    assert trained == {name: (run / name / "checkpoints/last.ckpt").stat().st_mtime_ns for name in trained}
    again = json.loads((run / "gains.json").read_text())
    assert [way["exact_match"] for way in again["ways"]] == [way["exact_match"] for way in said["ways"]]
    assert [way.name for way in named(ways_in(run / "asked/verifier", "x"), "x")] == ["majority@2", "x@2"]
    gains = ["task=report", "report.style=gains", f"runs={run}", f"run_dir={tmp_path}/report", "report.baseline=base"]
    assert main(gains, ROOT) == 0
    told = json.loads((tmp_path / "report/gains.json").read_text())
    assert {way["way"] for way in told["ways"]} == {"base", "dpo", "verifier: majority@2", "verifier: best@2"}
    assert kinds_of(run) == ("run", "claim", "pipeline")
    assert folders.strangers(run, *kinds_of(run)) == [], "all of it is ours, and is removed with it"
    (run / "dpo/notes.txt").write_text("mine")
    assert folders.strangers(run, *kinds_of(run)) == ["dpo/notes.txt"]
