"""Runs sorted into arms (equal but for the seed), summarised, and held against a baseline arm."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from errors import RequestError
from reports.collect import Run
from reports.statistics import Difference, Mean, holm, mean, paired_difference
from runs.direction import known_direction

PER_TOKEN = {"loss", "perplexity"}  # words of metrics that mean something else with another tokenizer
OVER_TOKENS = PER_TOKEN | {"bpb"}  # and where other tokens are supervised
SUPERVISED = "data.learn"  # which tokens of a conversation are learned, and validated


@dataclass(frozen=True)
class Arm:
    """All seeds of one setting. Statistics are over its finished runs that have the metric."""

    label: str
    factors: dict[str, str]
    runs: list[Run]
    score: Mean
    difference: Difference | None = None  # to the baseline; None for the baseline itself
    p_corrected: float = math.nan

    @property
    def finished(self) -> list[Run]:
        return [run for run in self.runs if run.status == "finished"]

    def average(self, key: str) -> float:
        """Mean of a number of summary.json over the finished runs; NaN where none has it."""
        values = [run.summary.get(key) for run in self.finished]
        return mean([value for value in values if isinstance(value, int | float)]).value

    @property
    def parameters(self) -> dict[str, int]:
        return next((run.summary["parameters"] for run in self.finished if run.summary.get("parameters")), {})


@dataclass(frozen=True)
class Comparison:
    """Arms, best first. `notes`: what the reader must know before reading on."""

    metric: str
    arms: list[Arm]
    baseline: Arm
    notes: list[str]

    @property
    def runs(self) -> list[Run]:
        return [run for arm in self.arms for run in arm.runs]

    @property
    def lower_is_better(self) -> bool:
        return lower_is_better(self.metric)


def compare(runs: list[Run], *, metric: str | None = None, baseline: str | None = None) -> Comparison:
    """Sorts, averages, tests.

    Args:
        metric: by which; None takes bits per byte, else the validation loss, else what all runs share.
        baseline: words of an arm's label ("model=gpt"); None takes the arm of the first run.

    Raises:
        RequestError: the runs share no metric, or no arm or several fit `baseline`.
    """
    chosen, notes = choose_metric(runs, metric)
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(run.label if run.factors else "all runs", []).append(run)
    scores = {label: scores_by_seed(members, chosen) for label, members in groups.items()}
    base = choose_baseline(list(groups), baseline, scores)
    differences = {label: None if label == base else paired_difference(scores[label], scores[base]) for label in groups}
    others = [label for label in groups if label != base]
    corrected = dict(
        zip(others, holm([d.p if (d := differences[label]) else math.nan for label in others]), strict=True)
    )
    arms = [
        Arm(
            label,
            members[0].factors,
            members,
            mean(list(scores[label].values())),
            differences[label],
            corrected.get(label, math.nan),
        )
        for label, members in groups.items()
    ]
    sign = 1 if lower_is_better(chosen) else -1
    arms.sort(key=lambda arm: (math.isnan(arm.score.value), sign * arm.score.value))
    notes += remarks(arms, chosen)
    return Comparison(chosen, arms, next(arm for arm in arms if arm.label == base), notes)


def choose_metric(runs: Sequence[Run], wanted: str | None) -> tuple[str, list[str]]:
    """The metric to rank by, and what to say about it (N42: tokenizers compare by bits per byte alone)."""
    finished = [run.metrics for run in runs if run.status == "finished"]
    if not finished:
        states = ", ".join(sorted({run.status for run in runs}))
        raise RequestError(f"none of the {len(runs)} runs has finished ({states}): there is nothing to compare yet.")
    shared = set.intersection(*(set(metrics) for metrics in finished))
    if wanted is not None and wanted not in shared:
        raise RequestError(
            f"report.metric={wanted}: not every finished run has it.\n"
            f"They share: {', '.join(sorted(shared)) or 'none'}."
        )
    first = ["val/bpb", "val/loss", *sorted(m for m in shared if m.startswith("val/")), *sorted(shared)]
    if len({run.setting(SUPERVISED) for run in runs}) > 1:  # answers first, where there are any
        first.sort(key=lambda name: bool(OVER_TOKENS & set(name.split("/"))))
    for name in first if wanted is None else (wanted,):
        if name in shared:
            return name, incomparable(runs, name, shared)
    raise RequestError("the finished runs share no metric: nothing can be compared.\nName runs of one objective.")


def incomparable(runs: Sequence[Run], name: str, shared: set[str]) -> list[str]:
    """What the reader must know where a metric means something else in some of the runs."""
    notes, words = [], set(name.split("/"))
    if len({(r.choices.get("tokenizer"), r.setting("tokenizer.vocab_size")) for r in runs}) > 1 and PER_TOKEN & words:
        instead = "report.metric=val/bpb does" if "val/bpb" in shared else "and not every run has val/bpb"
        notes.append(f"Tokenizers differ: {name} is counted in tokens and does not compare; {instead}.")
    if len({run.setting(SUPERVISED) for run in runs}) > 1 and OVER_TOKENS & words:
        others = sorted(m for m in shared if m.startswith("val/") and not OVER_TOKENS & set(m.split("/")))
        instead = f"; report.metric={others[0]} does" if others else ""
        notes.append(f"{SUPERVISED} differs: {name} is over other tokens in each and does not compare{instead}.")
    return notes


def choose_baseline(labels: list[str], wanted: str | None, scores: dict[str, dict[int, float]]) -> str:
    """The first arm that has finished runs, or the one whose label has all `wanted` words."""
    if wanted is None:
        return next((label for label in labels if scores[label]), labels[0])
    fitting = [label for label in labels if set(wanted.replace(" ", "").split(",")) <= set(label.split(", "))]
    if len(fitting) != 1:
        found = "no arm" if not fitting else f"{len(fitting)} arms"
        raise RequestError(f"report.baseline={wanted} fits {found}. Arms:\n  " + "\n  ".join(labels))
    return fitting[0]


def scores_by_seed(runs: Sequence[Run], metric: str) -> dict[int, float]:
    """{seed: final value} of the finished runs; of two runs with one seed, the later counts."""
    return {
        run.seed if run.seed is not None else number: run.metrics[metric]
        for number, run in enumerate(runs)
        if run.status == "finished" and metric in run.metrics and math.isfinite(run.metrics[metric])
    }


def lower_is_better(metric: str) -> bool:
    """Losses where the name does not tell: a task's `report.metric` that is neither is ranked as one."""
    return known_direction(metric) is not False


def remarks(arms: Sequence[Arm], metric: str) -> list[str]:
    """What limits the reading: single seeds, jobs that did not finish or came to no number, seeds not shared."""
    notes = []
    if known_direction(metric) is None:
        notes.append(f"Whether less or more of {metric} is better is not known by its name: less is ranked as better.")
    single = [arm.label for arm in arms if arm.score.n == 1]
    if all(arm.score.n < 2 for arm in arms):
        notes.append("One seed per setting: no intervals and no p-values can be given. Add seeds: -m seed=1,2,3")
    elif single:
        notes.append(f"One seed only, so neither an interval nor a p-value: {'; '.join(single)}.")
    two = [arm.label for arm in arms if arm.score.n == 2]
    if two:
        notes.append(
            f"Two seeds only, to be read with caution: {'; '.join(two)}. Their interval is 12.7 standard errors wide "
            "either way (Student's t with one degree of freedom), and the error itself comes from one difference; "
            "three or more tell more: -m seed=1,2,3,4,5"
        )
    diverged = [run for arm in arms for run in arm.finished if not math.isfinite(run.metrics.get(metric, math.nan))]
    if diverged:
        names = ", ".join(run.path.name for run in diverged)
        notes.append(
            f"{len(diverged)} finished run(s) came to no finite {metric} ({names}): they are not averaged, so the "
            "means of their settings are those of the seeds that went well."
        )
    lost = [run for arm in arms for run in arm.runs if run.status != "finished"]
    if lost:
        notes.append(
            f"{len(lost)} of {sum(len(arm.runs) for arm in arms)} runs have not finished; they are not averaged."
        )
    equal = [a.label for a in arms if (d := a.difference) is not None and d.n > 1 and math.isnan(d.low)]
    if equal:
        notes.append(
            f"The same difference with every seed, so no interval and no p-value: {'; '.join(equal)}. Either the "
            "metric is coarse, or the seed changes nothing; more seeds, or more questions, can tell."
        )
    few = [arm for arm in arms if arm.difference is not None and arm.difference.n < arm.score.n]
    if few:
        notes.append("Not every seed was run for every setting: differences are over the seeds that both have.")
    return notes
