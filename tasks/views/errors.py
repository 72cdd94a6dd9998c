"""inspect.view=errors: the wrong answers of an evaluation, grouped by what is wrong with them, with examples."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from errors import RequestError
from evaluation.mistakes import CLASSES, class_of
from inspection.cases import Case, cases
from inspection.charts import bars
from inspection.page import Page, facts
from launcher.jobs.run_folder import RunFolder
from strict_json import value_of

Prediction = dict[str, Any]
PREDICTIONS = "predictions.jsonl"
HEAD, PROMPT = 110, 3000  # letters of a case's line, of a prompt: few-shot prompts are long


def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints the classes with their counts and writes errors.html and errors.json."""
    file = predictions_file(cfg)
    predictions = read_predictions(file)
    groups = grouped(predictions)
    counts = {name: len(members) for name, members in groups.items()}
    page(file, predictions, groups, examples=cfg.inspect.examples).write(run.path / "errors.html")
    report = {"predictions": str(file), "n": len(predictions), "wrong": sum(counts.values()), "classes": counts}
    (run.path / "errors.json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    run.results |= {"errors": report}
    print(f"\n{report['wrong']:,} of {len(predictions):,} answers are wrong  ({file})")
    for name, n in counts.items():
        print(f"  {n:>6,}  {n / len(predictions):6.1%}  {name}")
    print(f"page: {run.path / 'errors.html'}")


def predictions_file(cfg: DictConfig) -> Path:
    """Raises RequestError where no predictions are named, or none lie there."""
    given = cfg.inspect.predictions or cfg.init_from
    if not given:
        raise RequestError(
            "inspect.view=errors looks at answers: type inspect.predictions=<the folder of a run of\n"
            "task=evaluate benchmark=NAME>, or its predictions.jsonl."
        )
    path = Path(given).expanduser()
    file = path / PREDICTIONS if path.is_dir() else path
    if not file.is_file():
        raise RequestError(
            f"{file}: there is no such file. It is written by\n"
            "python run.py task=evaluate init_from=RUN benchmark=NAME, into the folder of that run."
        )
    return file


def read_predictions(file: Path) -> list[Prediction]:
    """Raises RequestError for a file that holds something else, naming the line; summaries have no wrong answers."""
    found = []
    for number, line in enumerate(file.read_text(encoding="utf-8").rstrip("\n").split("\n"), start=1):
        try:
            row = value_of(line)
            class_of(row)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            raise RequestError(
                f"{file}, line {number}: not a line of {PREDICTIONS} ({type(error).__name__}: {error})."
            ) from None
        found.append(row)
    if not found:
        raise RequestError(f"{file} is empty.")
    if not any("right" in row for row in found):
        raise RequestError(f"{file}: these answers are neither right nor wrong.")
    return found


def grouped(predictions: list[Prediction]) -> dict[str, list[Prediction]]:
    """Wrong answers by class, the largest class first; those that the model was surest of come first."""
    groups: dict[str, list[Prediction]] = defaultdict(list)
    for prediction in predictions:
        if (name := class_of(prediction)) is not None:
            groups[name].append(prediction)
    for members in groups.values():
        members.sort(key=lambda p: -p.get("confidence", 0.0))
    return dict(sorted(groups.items(), key=lambda item: -len(item[1])))


def page(file: Path, predictions: list[Prediction], groups: dict[str, list[Prediction]], *, examples: int) -> Page:
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
        more = f" The first {examples:,} of {len(members):,}." if len(members) > examples else ""
        title = f"{name}: {len(members):,}"
        made.add(
            title, cases(case(p) for p in members[:examples]), note=f"{note[:1].upper()}{note[1:]}.{more}".lstrip(". ")
        )
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
    answer = str(p["texts"][p.get("chosen", 0)] if "read" in p else p["answer"])
    sure = f"   {p['confidence']:.0%} sure" if "confidence" in p else ""
    prompt = p["prompt"] if len(p["prompt"]) <= PROMPT else "[...] " + p["prompt"][-PROMPT:]
    head = " ".join(str(p.get("question") or p["prompt"]).split())
    head = head if len(head) <= HEAD else head[:HEAD] + " ..."
    return Case(head + sure, [("asked", prompt), ("expected", p["expected"]), ("answered", answer or "(nothing)")])
