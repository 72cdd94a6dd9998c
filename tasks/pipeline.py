"""task=pipeline: from a base model to an aligned one, stage by stage, and the table of what each stage gains.

A stage is a command line of its own and a run in RUN/<stage>, which starts from the one before. After each stage that
can answer, the same questions are asked with the same seed (RUN/asked/<stage>); of the last one also by other ways of
picking: votes, a verifier, retries, tools. How stages follow each other is in `Course`; running them is the launcher's.
"""

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypedDict

from omegaconf import DictConfig, OmegaConf

from bounds import NonNegativeInt
from commands import run_py
from errors import Interrupted, RequestError, RunError
from launcher.config.compose import Plan
from launcher.config.inherit import says
from launcher.config.reads import unread_words
from launcher.jobs.chain import Step, joined, key_of, lab_of_this_job, rehearsal, run_step
from launcher.jobs.run_folder import RunFolder
from launcher.lab import Lab
from reports import gains_page
from reports.gains import Way, gains
from reports.gains_runs import ASKED, ways_in
from runs.files import typed_words

# of the keys and sections that every config has (launcher/config/reads.py): its stages are runs of their own
READS = ("allow_mismatch",)
UNREAD = (
    "a pipeline's stages are runs of their own, which do not see this.\n"
    "For all of them, type pipeline.every={word}; for one, pipeline.more.NAME={word}."
)
BEFORE = "{before}"
TITLE = "What each stage gains"


class Pipeline(TypedDict):
    """The section `pipeline`."""

    stages: dict[str, str | None]
    order: list[str] | None
    aside: list[str]
    every: str | None
    more: dict[str, str | None]
    questions: str | None
    ways: dict[str, str | None]
    examples: NonNegativeInt


@dataclass
class Course:
    """All runs of a pipeline in their order, and which of them answer questions.

    `answering`: stage -> the stage that it is held against. `last`: the one that other ways are asked of.
    """

    steps: dict[str, Step] = field(default_factory=dict)
    answering: dict[str, str | None] = field(default_factory=dict)
    ways: list[str] = field(default_factory=list)
    last: str | None = None

    def needs(self, name: str) -> set[str]:
        """The step itself and all that it builds on."""
        found, left = set[str](), [name]
        while left:
            here = left.pop()
            if here in self.steps and here not in found:
                found.add(here)
                left += self.steps[here].references
        return found


def pipeline(cfg: DictConfig, run: RunFolder) -> None:
    """Runs what is left of it; writes gains.md, gains.json and gains.html.

    Raises:
        RequestError: anything about any stage is wrong: before the first one starts.
        RunError: a stage failed; `resume=` goes on with it.
    """
    typed, lab, seed = typed_words(run.path), lab_of_this_job(), int(cfg.seed)
    settings: Any = OmegaConf.to_container(cfg.pipeline, resolve=True)
    with rehearsal(lab, run.path) as compose:
        course = planned(settings, seed, lab, compose)
    print(f"{len(course.steps)} runs, all of them checked: {', '.join(course.steps)}", flush=True)
    seconds: dict[str, float] = {}
    for number, (name, step) in enumerate(course.steps.items(), start=1):
        print(f"\n[{number} of {len(course.steps)}] {name}: {' '.join(step.words)}", flush=True)
        with going_on(run):
            seconds[name] = float(run_step(step, run.path, lab).get("processor_seconds") or 0.0)
    found = gains(all_ways(course, run, seconds), seed=seed)
    run.results["metrics"] = gains_page.metrics(found)
    gains_page.write(
        run.path, found, title=TITLE, commands=[run_py(*typed)], most_examples=settings["examples"], seed=seed
    )
    print(gains_page.told(found, run.path))


@contextmanager
def going_on(run: RunFolder) -> Iterator[None]:
    """What does not come to its end says how the whole pipeline goes on: a stage names its own folder alone."""
    try:
        yield
    except (RunError, Interrupted):
        print(f"\nThe pipeline goes on by: {run_py(f'resume={run.path}')}", file=sys.stderr, flush=True)
        raise


# ---- before anything runs --------------------------------------------------------------------------------------------


def planned(settings: Any, seed: int, lab: Lab, compose: Callable[[Step], Plan]) -> Course:
    """The course of a pipeline, each run of it composed and checked.

    Raises:
        RequestError: no stage, a name that is none, a reference to nothing, or any fault in a stage's words.
    """
    course, names = Course(), in_order(settings)
    shared = [typed.lstrip("+") for typed in split(settings["every"], "every")]
    read_by_none = set(shared)
    asking = joined(shared, split(settings["questions"], "questions"))

    def add(name: str, *parts: Sequence[str]) -> Plan:
        words = joined([f"seed={seed}"], *parts)
        if course.last is not None and "init_from" not in map(key_of, words):
            words = joined(words, [f"init_from={BEFORE}"])
        words = tuple(word.replace(BEFORE, f"{{{course.last or 'before'}}}") for word in words)
        step = Step(name, words, anyway=frozenset(shared))
        if unknown := sorted(step.references - set(course.steps)):
            raise RequestError(
                f"{name}: {{{unknown[0]}}} is no stage before it. There are: {', '.join(course.steps) or 'none'}."
            )
        plan = compose(step)
        course.steps[name] = step
        read_by_none.intersection_update(unread_words(read_by_none, plan.cfg, lab))
        return plan

    for name in names:
        plan = add(name, shared, split(settings["stages"][name], name), split(settings["more"].get(name), name))
        if not answers(plan, lab):
            continue
        course.answering[name] = course.last
        if name not in settings["aside"]:
            course.last = name
        add(f"{ASKED}/{name}", asking, [f"init_from={{{name}}}"])
    if course.last is None:
        raise RequestError(
            "pipeline.stages: no stage trains a model that answers (and is not named in pipeline.aside)."
        )
    for name, typed in settings["ways"].items():
        if name in course.answering:
            raise RequestError(f"pipeline.ways.{name}: a stage of that name answers. Give the way another.")
        if typed is not None:
            add(f"{ASKED}/{name}", joined(asking, split(typed, name)))
            course.ways.append(name)
    if read_by_none:
        raise RequestError(f"pipeline.every: no run reads {' '.join(sorted(read_by_none))}. Leave it out.")
    return course


def in_order(settings: Any) -> list[str]:
    """Names of the stages that are not left out. Raises RequestError for names that stand for nothing."""
    stages = [name for name, typed in settings["stages"].items() if typed is not None]
    if not stages:
        raise RequestError(
            "task=pipeline needs stages: type experiment=alignment, or pipeline.stages.NAME='objective=sft ...'."
        )
    if not settings["questions"]:
        raise RequestError(
            "pipeline.questions: what is asked after each stage? Type pipeline.questions=benchmark=NAME."
        )
    for key in ("order", "aside", "more"):
        if unknown := [name for name in settings[key] or () if name not in settings["stages"]]:
            raise RequestError(f"pipeline.{key}: {unknown[0]} is no stage. There are: {', '.join(stages)}.")
    if settings["order"] and (missing := [name for name in stages if name not in settings["order"]]):
        raise RequestError(
            f"pipeline.order leaves {missing[0]} out. To leave a stage out: pipeline.stages.{missing[0]}=null"
        )
    for name in [*stages, *settings["ways"]]:
        if not name.isidentifier() or name in (ASKED, "before"):
            raise RequestError(f"pipeline: {name} cannot name a stage or a way. Letters, digits and _ can.")
    return [name for name in settings["order"] or stages if name in stages]


def split(typed: str | None, name: str) -> list[str]:
    """Words as a shell would part them. Raises RequestError for a quotation without end."""
    try:
        return shlex.split(typed or "")
    except ValueError as error:
        raise RequestError(f"pipeline: {name}: {typed} cannot be parted into words ({error}).") from None


def answers(plan: Plan, lab: Lab) -> bool:
    """Whether a stage makes a model that can be asked: it trains one, and none that only judges."""
    return plan.choices.get("task") == "fit" and not says(plan.cfg, "objective", "judges", lab)


# ---- the table -------------------------------------------------------------------------------------------------------


def all_ways(course: Course, run: RunFolder, seconds: dict[str, float]) -> list[Way]:
    """Each stage over the one before it; each way over the last stage, what a judge picks over the vote."""
    ways: dict[str, Way] = {}
    for name, over in course.answering.items():
        (way,) = ways_in(run.path / ASKED / name, name)[-1:]
        ways[name] = replace(way, name=name, over=over, made_s=_cost(course, seconds, name, over))
    assert course.last is not None
    for name in course.ways:
        made = _cost(course, seconds, f"{ASKED}/{name}", course.last) - seconds[f"{ASKED}/{name}"]
        for way in named(ways_in(run.path / ASKED / name, name), name):
            if way.name not in ways:  # the vote over samples that were drawn before, by the same seed
                voted = way.over is None and "@" in way.name
                ways[way.name] = replace(way, over=way.over or course.last, made_s=0.0 if voted else made)
    return list(ways.values())


def named(ways: Sequence[Way], name: str) -> list[Way]:
    """The vote by itself, since no judge takes part in it: majority@8; what is picked by its way: verifier@8."""
    if "@" not in ways[0].name:
        return list(ways)
    vote, *best = ways
    k = vote.name.rpartition("@")[2]
    judged = [replace(way, name=f"{name}@{k}", over=f"majority@{k}") for way in best]
    return [replace(vote, name=f"majority@{k}"), *judged]


def _cost(course: Course, seconds: dict[str, float], name: str, over: str | None) -> float:
    """Processor seconds of all that `name` builds on and `over` does not."""
    return sum(seconds[step] for step in course.needs(name) - (course.needs(over) if over else set()))
