"""inspect.view=rollouts: what a policy wrote as it learned, with its scores, and whether the reward was worth it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from callbacks.rollouts import FILE
from errors import RequestError
from inspection.cases import Case, cases
from inspection.charts import line
from inspection.page import Page, facts
from launcher.jobs.run_folder import RunFolder
from runs import expected
from runs.files import read_rows as metric_rows
from strict_json import object_in, value_of

READS = ("examples",)  # of the keys of `inspect`

Row = dict[str, Any]
HEAD = 110  # letters of a case's line
# over-optimisation shows where the first rises and the others do not
REWARD, TRUTH = "val/reward", ("val/sampled_exact_match", "val/exact_match")
NEEDED: dict[str, Any] = {"step": int, "prompt": str, "answer": str, "score": int | float, "parts": dict}
MAY_BE: dict[str, Any] = {"expected": str, "kl": int | float, "advantage": int | float}
PULL = ("objective/kl", "objective/entropy")


def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints the first and the last step's scores and writes rollouts.html and rollouts.json."""
    folder = run_folder(cfg)
    rows, curves = read_rows(folder / FILE), before_training(folder, read_metrics(folder / "metrics.csv"))
    steps = sorted({row["step"] for row in rows})
    page(folder, rows, curves, steps, examples=cfg.inspect.examples).write(run.path / "rollouts.html")
    ends = {name: [points[0][1], points[-1][1]] for name, points in curves.items() if points}
    report = {"run": str(folder), "answers": len(rows), "steps": steps, "metrics": ends}
    (run.path / "rollouts.json").write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    run.results |= {"rollouts": report}
    print(f"\n{len(rows):,} answers of {len(steps):,} rollouts are kept in {folder / FILE}")
    for name in (REWARD, *TRUTH, *PULL):
        if name in ends:
            print(f"  {name:<26}{ends[name][0]:>9.4f}  ->{ends[name][1]:>9.4f}")
    if words := expected.compared(folder):
        print(f"  {words}")
    print(f"page: {run.path / 'rollouts.html'}")


def run_folder(cfg: DictConfig) -> Path:
    """Raises RequestError where no run is named, or it wrote no rollouts."""
    if not cfg.init_from:
        raise RequestError(
            "inspect.view=rollouts looks at a run of online RL: type init_from=RUN_FOLDER (see outputs/)."
        )
    folder = Path(cfg.init_from).expanduser()
    if not (folder / FILE).is_file():
        raise RequestError(f"{folder} has no {FILE}. It is written by objective=grpo, rloo and ppo.")
    return folder


def read_rows(file: Path) -> list[Row]:
    """Raises RequestError for a line that is none of this file's; a last one that was cut off is left out."""
    found: list[Row] = []
    try:
        whole = file.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RequestError(f"{file} cannot be read: {error}.") from None
    lines = whole.removesuffix("\n").split("\n")  # answers may hold other ends of lines
    for number, text in enumerate(lines, start=1):
        try:
            found.append(checked(value_of(text)))
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise RequestError(f"{file}, line {number}: not a line of {FILE} ({error}).") from None
    if not found:
        raise RequestError(f"{file} is empty.")
    return found


def checked(row: Any) -> Row:
    """Raises ValueError for what the callback would not have written."""
    if not isinstance(row, dict):
        raise ValueError("it is no object")
    for name, kind in {**NEEDED, **MAY_BE}.items():
        if name not in row and name in MAY_BE:
            continue
        if not isinstance(row.get(name), kind) or isinstance(row.get(name), bool):
            raise ValueError(f"{name} is {row.get(name)!r:.80}")
    if not all(isinstance(value, int | float) for value in row["parts"].values()):
        raise ValueError("parts holds what is no number")
    return row


def read_metrics(file: Path) -> dict[str, list[tuple[float, float]]]:
    """(step, value) of each metric, where it was logged."""
    curves: dict[str, list[tuple[float, float]]] = {}
    for row in metric_rows(file):
        for name, value in row.items():
            if name != "step" and math.isfinite(value):
                curves.setdefault(name, []).append((row["step"], value))
    return curves


def before_training(folder: Path, curves: dict[str, list[tuple[float, float]]]) -> dict[str, list[tuple[float, float]]]:
    """The curves with held-out answers at step 0, out of summary.json where there is one."""
    try:
        summary = object_in(folder / "summary.json")
        before = (summary.get("held_out") or {}).get("before") or {}
        first = {f"val/{name}": [(0.0, float(value))] for name, value in before.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return curves
    return curves | {name: first[name] + curves[name] for name in first if name in curves}


def page(folder: Path, rows: list[Row], curves: dict[str, Any], steps: list[int], *, examples: int) -> Page:
    made = Page(
        title="Rollouts",
        about="Of some questions the best and the worst answer that was drawn, with what it was worth.",
    )
    made.add("At a glance", facts({"run": str(folder), "answers": f"{len(rows):,}", "rollouts": f"{len(steps):,}"}))
    shown = {name: curves[name] for name in (REWARD, *TRUTH) if len(curves.get(name, [])) > 1}
    if shown:
        note = "Where the reward rises and right answers do not, the policy has learned to please the reward."
        made.add(
            "Reward and right answers, held out",
            line(shown, x="optimizer updates", y="mean over held-out questions"),
            note=note,
        )
    for name in PULL:
        if len(curves.get(name, [])) > 1:
            made.add(name, line({name: curves[name]}, x="optimizer updates", y=f"{name.partition('/')[2]} (nats)"))
    for step in dict.fromkeys((steps[-1], steps[0])):
        members = [row for row in rows if row["step"] == step][:examples]
        made.add(f"After {step} updates", cases(map(case, members), opened=2))
    return made


def case(row: Row) -> Case:
    head = " ".join(row["prompt"].split())
    head = head if len(head) <= HEAD else head[:HEAD] + " ..."
    parts = "  ".join(f"{name} {value:.2f}" for name, value in row["parts"].items())
    kl = f"  KL {row['kl']:.2f}" if "kl" in row else ""
    cut = "  cut off" if row.get("cut_off") else ""
    score = f"score {row['score']:.2f}  ({parts})\nadvantage {row.get('advantage', 0):.2f}{kl}{cut}"
    return Case(
        f"{row['score']:.2f}  {head}",
        [("answer", row["answer"]), ("expected", row.get("expected", "")), ("worth", score)],
    )
