"""task=report: from the runs of a sweep to an answer: a table with intervals, figures, one page to show (N35)."""

from pathlib import Path
from typing import Any, Literal, TypedDict

from omegaconf import DictConfig, OmegaConf

from commands import run_py
from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from reports import figures, gains_page, paper, within
from reports.collect import Run, find_runs, not_started, passed_over
from reports.comparison import Comparison, compare
from reports.gains import gains, held_against
from reports.gains_runs import found_ways
from reports.page import page
from reports.tables import arm_rows, run_rows, to_csv, to_markdown
from reports.views import sections

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ()


class Report(TypedDict):
    """The section `report`."""

    metric: str | None
    baseline: str | None
    style: Literal["page", "paper", "gains"]
    title: str | None


def report(cfg: DictConfig, run: RunFolder) -> None:
    """Writes report.html, report.md, arms.csv and runs.csv into the run folder, and prints the table."""
    if not cfg.runs:
        raise RequestError("task=report needs runs: type runs=<a sweep's folder>, or runs=[RUN1,RUN2].")
    wanted = OmegaConf.to_container(cfg.runs) if OmegaConf.is_list(cfg.runs) else cfg.runs
    if cfg.report.style == "gains":
        report_gains(cfg, run, wanted)
        return
    runs = find_runs(wanted)  # type: ignore[arg-type]
    comparison = compare(runs, metric=cfg.report.metric, baseline=cfg.report.baseline)
    comparison.notes.extend([*passed_over(wanted), *not_started(wanted)])  # type: ignore[arg-type]
    title, commands = cfg.report.title or heading(runs), commands_of(runs, cfg)
    write(run.path, comparison, title=title, commands=commands, as_paper=cfg.report.style == "paper")
    run.results |= {"metrics": {f"{comparison.metric}/{arm.label}": arm.score.value for arm in comparison.arms}}
    print(f"\n{to_markdown(short(comparison))}\n\n{within.answer(comparison)}")
    if (found := within.within(comparison)) is not None:
        print(f"\nat each {found.factor}:\n{to_markdown(within.rows(comparison, found))}\n")
    print(
        "\n".join([*comparison.notes, f"\n  page   {run.path / 'report.html'}", f"  text   {run.path / 'report.md'}"])
    )


def report_gains(cfg: DictConfig, run: RunFolder, wanted: Any) -> None:
    """Evaluations of the same questions held against each other: writes gains.md, gains.json and gains.html.

    Raises:
        RequestError: no predictions, other questions, or a baseline that is none of them.
    """
    if cfg.report.metric is not None:
        raise RequestError(f"report.metric={cfg.report.metric}: report.style=gains compares exact match. Leave it out.")
    ways, notes = found_ways(wanted)
    found = gains(held_against(ways, cfg.report.baseline), seed=cfg.seed, notes=notes)
    run.results |= {"metrics": gains_page.metrics(found)}
    commands = [run_py("task=report", f"runs={wanted if isinstance(wanted, str) else '[' + ','.join(wanted) + ']'}",
                       "report.style=gains")]  # fmt: skip
    gains_page.write(run.path, found, title=cfg.report.title or "Gains", commands=commands, seed=cfg.seed)
    print(gains_page.told(found, run.path))


def write(folder: Path, comparison: Comparison, *, title: str, commands: list[str], as_paper: bool) -> None:
    arms, every = arm_rows(comparison), run_rows(comparison)
    lines = [
        f"# {title}",
        within.answer(comparison),
        *comparison.notes,
        *in_detail(comparison),
        to_markdown(arms),
        *(text for part in sections(comparison) for text in (f"## {part.title}", part.note, to_markdown(part.rows))),
        "## Every run",
        to_markdown(every),
    ]
    lines += ["## To repeat it", "```\n" + "\n".join(commands) + "\n```"]
    files: dict[str, str | bytes] = {
        "report.html": page(comparison, title=title, commands=commands),
        "report.md": "\n\n".join(lines) + "\n",
        "arms.csv": to_csv(arms),
        "runs.csv": to_csv(every),
    }
    if as_paper:
        files |= paper_files(comparison, title=title, commands=commands)
    for name, content in files.items():
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())


def paper_files(comparison: Comparison, *, title: str, commands: list[str]) -> dict[str, str | bytes]:
    """The draft twice, with its figures beside it: as SVG for Markdown, as PDF for LaTeX."""
    made = {
        "intervals": figures.bars_drawn(comparison),
        "curves": figures.lines_drawn(comparison.arms, comparison.metric, "tokens"),
    }
    svgs = {f"{name}.svg": figures.svg(*drawing) for name, drawing in made.items() if drawing}
    pdfs = {f"{name}.pdf": figures.pdf(drawing) for name, drawing in made.items() if drawing}
    about: Any = {"title": title, "commands": commands}
    texts = {
        "paper.md": paper.markdown(comparison, figures=list(svgs), **about),
        "paper.tex": paper.latex(comparison, figures=list(pdfs), **about),
    }
    return svgs | pdfs | texts


def in_detail(comparison: Comparison) -> list[str]:
    """Where which setting wins, where these runs can say so; in Markdown."""
    parts = []
    if (found := within.within(comparison)) is not None:
        parts += [f"## At each {found.factor}", to_markdown(within.rows(comparison, found))]
    return [*parts, "## Settings, best first"] if parts else []


def short(comparison: Comparison) -> list[dict[str, str]]:
    """The columns that fit a terminal."""
    hidden = {"parameters", "tokens", "seconds", "deviation", "95 % interval"}
    return [{key: value for key, value in row.items() if key not in hidden} for row in arm_rows(comparison)]


def heading(runs: list[Run]) -> str:
    factors = list(runs[0].factors)
    return f"{', '.join(factors)}: {len(runs)} runs" if factors else f"{len(runs)} runs of {runs[0].path.parent.name}"


def commands_of(runs: list[Run], cfg: DictConfig) -> list[str]:
    """What was typed: once for a sweep, for each run otherwise; then this report."""
    typed = list(dict.fromkeys(str(run.summary["command"]) for run in runs if run.summary.get("command")))
    places = OmegaConf.to_container(cfg.runs) if OmegaConf.is_list(cfg.runs) else cfg.runs
    named = f"[{','.join(places)}]" if isinstance(places, list) else str(places)
    words = ["task=report", f"runs={named}"]
    words += [f"report.{key}={value}" for key, value in cfg.report.items() if value not in (None, "page")]
    return [*typed, run_py(*words)]
