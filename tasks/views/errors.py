"""inspect.view=errors: the wrong answers of an evaluation, grouped by what is wrong with them, with examples."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

from omegaconf import DictConfig

from errors import RequestError
from evaluation.mistakes import CLASSES, answer_in, class_of, drawn
from evaluation.predictions import Prediction, read_predictions
from folders import predictions_file
from inspection.cases import Case, cases
from inspection.charts import bars
from inspection.page import Page, facts
from launcher.jobs.run_folder import RunFolder

READS = ("predictions", "examples")  # of the keys of `inspect`

HEAD, PROMPT = 110, 3000  # letters of a case's line, of a prompt: few-shot prompts are long


def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints the classes with their counts and writes errors.html and errors.json."""
    file = file_of(cfg)
    predictions = read_predictions(file)
    groups = grouped(predictions)
    counts = {name: len(members) for name, members in groups.items()}
    page(file, predictions, groups, examples=cfg.inspect.examples, seed=cfg.seed).write(run.path / "errors.html")
    report = {"predictions": str(file), "n": len(predictions), "wrong": sum(counts.values()), "classes": counts}
    (run.path / "errors.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    run.results |= {"errors": report}
    print(f"\n{report['wrong']:,} of {len(predictions):,} answers are wrong  ({file})")
    for name, n in counts.items():
        print(f"  {n:>6,}  {n / len(predictions):6.1%}  {name}")
    print(f"page: {run.path / 'errors.html'}")


def file_of(cfg: DictConfig) -> Path:
    """Raises RequestError where no predictions are named, or none lie there."""
    if cfg.inspect.predictions and cfg.init_from:
        raise RequestError(
            "inspect.predictions and init_from both say whose answers to look at: leave one of them out."
        )
    given = cfg.inspect.predictions or cfg.init_from
    if not given:
        raise RequestError(
            "inspect.view=errors looks at answers: type inspect.predictions=<the folder of a run of\n"
            "task=evaluate benchmark=NAME>, or its predictions.jsonl."
        )
    return predictions_file(given, key="inspect.predictions" if cfg.inspect.predictions else "init_from")


def grouped(predictions: list[Prediction]) -> dict[str, list[Prediction]]:
    """Wrong answers by class, the largest class first."""
    groups: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        if (name := class_of(prediction)) is not None:
            groups[name].append(prediction)
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def page(
    file: Path, predictions: list[Prediction], groups: dict[str, list[Prediction]], *, examples: int, seed: int
) -> Page:
    """Of a class as many cases as are wanted, chosen by seed; those that the model was surest of come first."""
    wrong = sum(map(len, groups.values()))
    made = Page(title="Wrong answers", about="Each wrong answer is in one class, that of its first fault.")
    pairs: dict[str, object] = {
        "answers": str(file),
        "questions": f"{len(predictions):,}",
        "wrong": f"{wrong:,}, {wrong / len(predictions):.1%}",
    }
    if kinds := kinds_of_errors(predictions):
        pairs |= kinds
    made.add("At a glance", facts(pairs))
    if groups:
        made.add("Classes", bars(list(groups), {"answers": [len(m) for m in groups.values()]}, unit="wrong answers"))
    for name, members in groups.items():
        note = CLASSES.get(name, "")
        more = f" {examples:,} of {len(members):,}, chosen by seed." if len(members) > examples else ""
        shown = sorted(drawn(members, examples, seed=seed, name=name), key=lambda p: -p.get("confidence", 0.0))
        title = f"{name}: {len(members):,}"
        made.add(title, cases(case(p) for p in shown), note=f"{note[:1].upper()}{note[1:]}.{more}".lstrip(". "))
    return made


def kinds_of_errors(predictions: list[Prediction]) -> dict[str, object]:
    """How sure the model was, right and wrong, where that is known."""
    known = [p for p in predictions if "confidence" in p]
    pairs: dict[str, object] = {}
    for name, is_right in (("sure of it when right", True), ("sure of it when wrong", False)):
        values = [p["confidence"] for p in known if bool(p["right"]) == is_right]
        if values:
            pairs[name] = f"{sum(values) / len(values):.1%} on average"
    return pairs


def case(p: Prediction) -> Case:
    answer = answer_in(p)
    sure = f"   {p['confidence']:.0%} sure" if "confidence" in p else ""
    prompt = p["prompt"] if len(p["prompt"]) <= PROMPT else "[...] " + p["prompt"][-PROMPT:]
    head = " ".join(str(p.get("question") or p["prompt"]).split())
    head = head if len(head) <= HEAD else head[:HEAD] + " ..."
    return Case(head + sure, [("asked", prompt), ("expected", p["expected"]), ("answered", answer or "(nothing)")])
