"""The table of gains as gains.md, gains.json and gains.html; all three say the same."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evaluation.intervals import Estimate
from evaluation.mistakes import CLASSES, answer_in, examples
from evaluation.predictions import Prediction
from inspection.cases import Case, cases
from inspection.charts import bars
from inspection.page import Page
from reports.gains import NOT_SHOWN, Gains, Line, power_line
from reports.page import table
from reports.tables import Row, count, p_value, to_markdown

HEAD = 110  # letters of an example's line
READING = (
    "Exact match and gains with 95 % intervals over what the questions are about. A gain is paired, question by "
    "question; p by flipping the signs of what each source adds, corrected for the number of gains (Holm 1979). It is "
    f"printed as “{NOT_SHOWN}” where its interval holds 0 or that p is above 0.05. Tokens are those written for a "
    "question, all attempts together, and those that a judge reads. Seconds are of the processor, all cores together: "
    "to make what a row adds to the one that it is held against, and to answer all questions."
)
ABOUT_FAULTS = (
    "Each wrong answer is in one class, that of its first fault. A chain break and an unsupported fact are found by a "
    "rule of thumb (evaluation/mistakes.py, evaluation/facts.py)."
)


def write(
    folder: Path, found: Gains, *, title: str, commands: Sequence[str], most_examples: int = 3, seed: int
) -> None:
    """Writes the three files into `folder`."""
    told = [*found.notes, power_line(found)]
    rows, faults = gain_rows(found), fault_rows(found)
    parts = [f"# {title}", to_markdown(rows), *told, READING]
    parts += ["## Faults by class", to_markdown(faults), ABOUT_FAULTS] if faults else []
    parts += ["## To repeat it", "```\n" + "\n".join(commands) + "\n```"]
    (folder / "gains.md").write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    (folder / "gains.json").write_text(
        json.dumps(as_json(found), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
    )
    page(found, title=title, commands=commands, most_examples=most_examples, seed=seed).write(folder / "gains.html")


def metrics(found: Gains) -> dict[str, float]:
    """For summary.json."""
    return {f"test/exact_match/{line.way.name}": line.exact_match.value for line in found.lines}


def told(found: Gains, folder: Path) -> str:
    """The table as far as it fits a terminal, and where the rest is."""
    hidden = ("its interval", "judge reads")
    rows = [{k: v for k, v in row.items() if k not in hidden} for row in gain_rows(found)]
    lines = [f"\n{to_markdown(rows)}\n", *found.notes, power_line(found)]
    return "\n".join([*lines, f"\n  page   {folder / 'gains.html'}", f"  text   {folder / 'gains.md'}"])


def gain_rows(found: Gains) -> list[Row]:
    return [_row(line) for line in found.lines]


def _row(line: Line) -> Row:
    way, match, gain = line.way, line.exact_match, line.gain
    row = {"way": way.name, "exact match": three(match.value), "95 % interval": spread(match)}
    if gain is None:
        row |= {"gain over": "", "gain": "", "its interval": "", "p (Holm)": ""}
    else:
        shown = NOT_SHOWN if gain.verdict == NOT_SHOWN else three(gain.gain.value, sign="+")
        row |= {"gain over": gain.over, "gain": shown, "its interval": spread(gain.gain)}
        row |= {"p (Holm)": p_value(gain.p_corrected)}
    row |= {"tokens": count(float(way.tokens.mean())) if way.tokens.any() else ""}
    return row | {"judge reads": count(way.read), "made in s": count(way.made_s), "asked in s": count(way.asked_s)}


def three(value: float, *, sign: str = "") -> str:
    """With three decimals: of some hundred questions the fourth says nothing."""
    return f"{value:{sign}.3f}"


def spread(estimate: Estimate) -> str:
    return "" if math.isnan(estimate.low) else f"{three(estimate.low)} to {three(estimate.high)}"


def fault_rows(found: Gains) -> list[Row]:
    """Wrong answers of each way by class, the commonest class of all first."""
    totals: dict[str, int] = {}
    for line in found.lines:
        for name, n in line.way.faults.items():
            totals[name] = totals.get(name, 0) + n
    names = sorted(totals, key=lambda name: -totals[name])
    if not names:
        return []
    return [
        {"way": line.way.name, "wrong": str(sum(line.way.faults.values()))}
        | {name: str(line.way.faults.get(name, 0)) for name in names}
        for line in found.lines
    ]


def as_json(found: Gains) -> dict[str, Any]:
    return {"questions": found.asked, "notes": found.notes, "power": power_line(found)} | {
        "ways": [_as_json(line) for line in found.lines]
    }


def _as_json(line: Line) -> dict[str, Any]:
    way, gain = line.way, line.gain
    said: dict[str, Any] = {"way": way.name, "exact_match": _plain(line.exact_match)}
    if gain is not None:
        said |= {"over": gain.over, "gain": _plain(gain.gain), "p": gain.p, "p_holm": gain.p_corrected}
        said |= {"verdict": gain.verdict, "questions_for_three_points": gain.questions}
    said |= {"tokens_per_question": float(way.tokens.mean()), "judge_tokens_per_question": way.read}
    said |= {"processor_seconds": {"made": way.made_s, "asked": way.asked_s}, "faults": way.faults}
    return said | {"right": [round(value, 6) for value in way.right.tolist()]}


def _plain(estimate: Estimate) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in estimate._asdict().items()}


def page(found: Gains, *, title: str, commands: Sequence[str], most_examples: int, seed: int) -> Page:
    made = Page(title, about=power_line(found))
    for note in found.notes:
        made.lead += Markup('<p class="warning">{}</p>').format(note)
    made.add("Gains", table(gain_rows(found)), READING)
    names = [line.way.name for line in found.lines]
    made.add(
        "Exact match", bars(names, {"exact match": [line.exact_match.value for line in found.lines]}, unit="share")
    )
    if rows := fault_rows(found):
        made.add("Faults by class", table(rows), ABOUT_FAULTS)
    for line in found.lines if most_examples else ():
        shown = examples(line.way.predictions, most_examples, seed=seed)
        if found_cases := [_case(name, p) for name in line.way.faults for p in shown[name]]:
            note = f"Up to {most_examples} of each class, chosen by seed {seed}."
            made.add(f"Wrong answers: {line.way.name}", cases(found_cases, opened=0), note)
    made.add("To repeat it", Markup("<pre>{}</pre>").format("\n".join(commands)))
    return made


def _case(name: str, p: Prediction) -> Case:
    head = " ".join(str(p.get("question") or p["prompt"]).split())
    head = head if len(head) <= HEAD else head[:HEAD] + " ..."
    parts = [("asked", str(p.get("question") or p["prompt"])), ("expected", str(p["expected"]))]
    parts += [("answered", answer_in(p) or "(nothing)"), ("fault", CLASSES.get(name, name))]
    return Case(f"{name}: {head}", parts)
