"""What was typed beside what a task reads is named or refused, before anything is imported; what reads it is told."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from errors import RequestError
from launcher.cli import main
from launcher.config.compose import compose
from launcher.config.overrides import Override, parse
from launcher.config.reads import constant_of, reads_of
from launcher.config.source import module_constant
from launcher.jobs.sweep import check_jobs, read_by_none
from launcher.lab import Lab
from models.boosting.plan import Plan
from models.layers.moe.settings import MoESettings
from tasks.inspect import Inspect

ROOT = Path(__file__).parents[3]
LAB = Lab(ROOT)
SAVED = "tests/fixtures/run_of_a56f643"  # a run of objective=causal_lm
FROM = f"init_from={SAVED}"

NAMED = [
    ("task=runs runs.compare=[a,b] trainer.max_steps=3", "trainer.max_steps is read by task=check, task=fit."),
    ("task=runs model=llama", "task=runs does not read model."),
    (f"task=runs runs.delete=a {FROM}", "task=runs does not read init_from."),
    ("task=runs run_dir=x", "task=runs does not read run_dir."),
    ("task=report runs=x optimizer.lr=1", "optimizer.lr is read by task=check, task=fit."),
    ("task=crawl model=llama", "task=crawl does not read model."),
    (
        f"task=generate {FROM} trainer.max_steps=77",
        "it reads trainer.accelerator, trainer.precision, trainer.products.",
    ),
    (f"task=generate {FROM} optimizer.lr=5", "task=generate does not read optimizer.lr."),
    (f"task=generate {FROM} adapter=lora", "adapter is read by task=check, task=fit."),
    (f"task=generate {FROM} reward=answer", "task=generate does not read reward."),
    (f"task=generate {FROM} benchmark=arithmetic", "benchmark is read by task=evaluate."),
    (f"task=evaluate {FROM} trainer.val_tokens=9", "task=evaluate does not read trainer.val_tokens."),
    (f"task=evaluate {FROM} trainer.threads=1", "task=evaluate does not read trainer.threads."),
    (f"task=evaluate {FROM} trainer.compile=true", "task=evaluate does not read trainer.compile."),
    (f"task=evaluate {FROM} adapter=lora", "task=evaluate does not read adapter."),
    (f"task=export {FROM} adapter=lora", "task=export does not read adapter."),
    (f"task=merge {FROM} callbacks=minimal", "task=merge does not read callbacks."),
    ("task=prepare schedule.warmup_steps=3", "task=prepare does not read schedule.warmup_steps."),
    ("objective=sft benchmark=arithmetic", "benchmark is read by task=evaluate."),
]
REFUSED = [
    ("objective=sft reward=answer", "this objective has no use for rewards.\nThose that have: grpo, ppo"),
    ("objective=sft learner=bias", "Type objective=gbft"),
    ("init.upcycle=copy model=moe", "Type init_from=... too"),
    ("objective=gbft gbft.newton_lambda=3", "it changes nothing beside gbft.objective=ce."),
    ("objective=gbft gbft.corrective_lr_scale=1", "beside gbft.corrective_steps=0."),
    ("objective=gbft gbft=polished gbft.eta=1", "Leave it out, or give gbft.eta_rule another value."),
    ("objective=gbft gbft=bagged gbft.shrinkage=0.5", "beside gbft.ensemble=bagged."),
    ("objective=gbft gbft.dev_fraction=0 gbft.tol=9", "beside gbft.dev_fraction=0."),
    ("objective=gbft gbft.cache=none gbft.cache_gb=9", "beside gbft.cache=none."),
    ("objective=gbft gbft.eta_rule=line_search gbft.literal_recipe=true", "beside gbft.eta_rule=line_search."),
    ("model=moe model.moe.layers=[0] model.moe.every=2", "beside model.moe.layers=[0]."),
    ("model=moe model.moe.bias_update=0.1", "beside model.moe.router=softmax."),
    ("model=moe model.moe.eval_dropless=false", "beside model.moe.capacity_factor=null."),
    (
        "task=inspect inspect.text=words",
        "inspect.view=data does not read it.\ninspect.text is read by inspect.view=att",
    ),
    (f"task=inspect inspect.view=attention {FROM} inspect.steps=2", "inspect.steps is read by inspect.view=data."),
    (f"task=inspect inspect.view=positions {FROM} inspect.tokens=2", "inspect.view=positions does not read it."),
    (f"task=inspect inspect.view=rollouts {FROM} inspect.predictions=x", "is read by inspect.view=errors."),
    ("task=evaluate model=hf model.path=x init.strict=false", "Type init_from=... too"),
]


@pytest.mark.parametrize(("line", "said"), NAMED)
def test_what_a_task_does_not_read_is_named(line: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    [told] = compose(line.split(), LAB).passed_over
    assert told.startswith(f"{line.split()[-1]} changes nothing: ")
    assert said in told


@pytest.mark.parametrize(("line", "said"), REFUSED)
def test_what_another_choice_switches_off_is_refused(line: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(RequestError, match=re.escape(said)):
        compose(line.split(), LAB)


@pytest.mark.parametrize(
    "line",
    [
        f"task=generate {FROM} trainer.accelerator=cpu trainer.products=torch hardware=cpu seed=1 model.bias=true",
        f"task=evaluate {FROM} data=text data.path=x init.strict=false allow_mismatch=true",
        f"task=evaluate {FROM} experiment=demo",  # what it says of trainer was not typed
        f"rerun={SAVED} trainer.max_steps=9",
        "objective=gbft learner=bias gbft.eta=1 gbft.tol=0 gbft.cache_gb=1",
        "objective=gbft gbft=polished gbft.corrective_lr_scale=1 gbft.cache=none gbft.cache_dtype=bfloat16",
        "objective=gbft gbft=newton gbft.newton_lambda=1 gbft.eta_max=5",
        "model=moe model.moe.every=2 model.moe.router=sigmoid_bias model.moe.bias_update=0.1",
        "model=moe model.moe.capacity_factor=1 model.moe.eval_dropless=false model.moe.lb_scope=micro",
        f"task=export {FROM} data.seq_len=8",
        f"task=generate {FROM} data.seq_len=8 trainer.precision=32-true",
        f"task=evaluate {FROM} trainer.precision=32-true",
        f"task=evaluate {FROM} debug=overfit",
        "objective=grpo reward=answer",
        "task=inspect inspect.steps=2 inspect.documents=3 inspect.document_tokens=4 inspect.terminal_rows=1",
        f"task=inspect inspect.view=routing {FROM} inspect.text=words inspect.tokens=4",
        "task=inspect inspect.view=errors inspect.predictions=x inspect.examples=3",
        "task=prepare data=text data.path=x model.seq_len=16",
    ],
)
def test_what_is_read_is_taken(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert not compose(line.split(), LAB).passed_over


def test_each_task_says_what_it_reads_and_a_check_what_its_run_does() -> None:
    found = {task: constant_of(f"tasks.{task}.{task}", "READS", LAB) for task in LAB.groups["task"]}
    assert None not in found.values()
    assert found["check"] == found["fit"]


def test_each_view_says_which_keys_it_reads_and_each_key_is_read_by_one() -> None:
    views = [file.stem for file in (ROOT / "tasks/views").glob("[!_]*.py")]
    read = {view: module_constant(f"tasks.views.{view}", "READS", LAB) for view in views}
    assert None not in read.values()
    assert {key for keys in read.values() for key in keys} | {"view"} == set(Inspect.__annotations__)


@pytest.mark.parametrize("record", [Plan, MoESettings])
def test_what_is_idle_beside_another_key_is_said_of_keys_that_are_there(record: type) -> None:
    keys = {field.name for field in fields(record)}
    said = record.idle_beside  # type: ignore[attr-defined]
    assert said.keys() <= keys
    assert {re.split("!?=", condition)[0] for conditions in said.values() for condition in conditions} <= keys


def test_an_export_reads_the_template_that_ends_its_texts() -> None:
    assert "data.template" in (reads_of("tasks.export.export", LAB) or ())


def test_fail_fast_is_for_several_jobs(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fail_fast=true", "--cfg", "job"], ROOT) == 0
    assert "this is one job." in capsys.readouterr().err
    assert main(["-m", "seed=1,2", "fail_fast=true", "--cfg", "job"], ROOT) == 0
    assert not capsys.readouterr().err


def test_a_sweep_names_what_none_of_its_jobs_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)

    def named(*words: str) -> list[str]:
        compose(words, LAB, multirun=True)
        return read_by_none(parse(words, LAB, multirun=True), check_jobs(words_of(words), LAB), LAB)

    def words_of(words: tuple[str, ...]) -> list[Override]:
        return list(parse(words, LAB, multirun=True))

    assert named("model=moe", "model.moe.router=sigmoid_bias,softmax", "model.moe.bias_update=0.01") == []
    assert named("model=moe", "model.moe.layers=null,[0]", "model.moe.every=2") == []
    assert named("model=moe", "seed=1,2", "model.moe.bias_update=0.01") == ["model.moe.bias_update=0.01"]
    assert named("seed=1,2", "benchmark=arithmetic") == ["benchmark=arithmetic"]
