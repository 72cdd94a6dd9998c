"""A draft in the shape of a paper, Markdown or LaTeX: it states what the intervals carry, and what threatens it."""

import math
from collections.abc import Sequence

from reports import within
from reports.comparison import Comparison
from reports.tables import arm_rows, number, shown_columns, to_markdown

COLUMNS = ("n", "deviation", "95 % interval", "difference", "its 95 % interval", "p (Holm)", "parameters", "tokens")


def markdown(comparison: Comparison, *, title: str, commands: Sequence[str], figures: Sequence[str]) -> str:
    sections = [f"# {title}", "## Question and answer", within.answer(comparison), "## Set-up", set_up(comparison)]
    sections += ["## Results", to_markdown(paper_rows(comparison)), *(f"![]({name})" for name in figures)]
    sections += ["## Findings", *(f"- {line}" for line in findings(comparison))]
    sections += ["## Threats to validity", *(f"- {line}" for line in threats(comparison))]
    sections += ["## Commands", "```\n" + "\n".join(commands) + "\n```"]
    return "\n\n".join(sections).replace("\n\n- ", "\n- ") + "\n"


def latex(comparison: Comparison, *, title: str, commands: Sequence[str], figures: Sequence[str]) -> str:
    """`figures`: names of PDF files beside it."""
    rows = paper_rows(comparison)
    columns = shown_columns(rows)
    lines = [" & ".join(_tex(row.get(c, "")) for c in columns) + r" \\" for row in rows]
    items = "\n".join(rf"\item {_tex(line)}" for line in findings(comparison))
    drawn = "\n".join(rf"\noindent\includegraphics[width=\linewidth]{{{name}}}\par" for name in figures)
    risks = "\n".join(rf"\item {_tex(line)}" for line in threats(comparison))
    return rf"""\documentclass{{article}}
\usepackage[T1]{{fontenc}}\usepackage[margin=2cm]{{geometry}}\usepackage{{booktabs,graphicx}}
\title{{{_tex(title)}}}
\begin{{document}}\maketitle
\begin{{abstract}}{_tex(within.answer(comparison))}\end{{abstract}}
\section{{Set-up}}
{_tex(set_up(comparison))}
\section{{Results}}
\noindent\resizebox{{\linewidth}}{{!}}{{\begin{{tabular}}{{{"l" * len(columns)}}}
\toprule
{" & ".join(_tex(c) for c in columns)} \\
\midrule
{chr(10).join(lines)}
\bottomrule
\end{{tabular}}}}\par\medskip
{drawn}
\section{{Findings}}
\begin{{itemize}}
{items}
\end{{itemize}}
\section{{Threats to validity}}
\begin{{itemize}}
{risks}
\end{{itemize}}
\section{{Commands}}
\begin{{verbatim}}
{chr(10).join(commands)}
\end{{verbatim}}
\end{{document}}
"""


def paper_rows(comparison: Comparison) -> list[dict[str, str]]:
    keep = {*comparison.arms[0].factors, "setting", f"{comparison.metric} (mean)", *COLUMNS}
    return [{key: value for key, value in row.items() if key in keep} for row in arm_rows(comparison)]


def set_up(comparison: Comparison) -> str:
    runs = [run for run in comparison.runs if run.status == "finished"]
    first = runs[0]
    same = {name: first.choices.get(name) for name in ("model", "data", "tokenizer", "objective", "optimizer")}
    fixed = ", ".join(f"{k} {v}" for k, v in same.items() if v and all(run.choices.get(k) == v for run in runs))
    tokens = sorted({int(run.summary.get("tokens_seen") or 0) for run in runs})
    spent = f"{tokens[0]:,}" if len(tokens) == 1 else f"{tokens[0]:,} to {tokens[-1]:,}"
    versions = first.summary.get("versions") or {}
    stack = ", ".join(f"{k} {v}" for k, v in versions.items() if k in ("python", "torch", "lightning", "device"))
    return (
        f"{len(runs)} finished runs of {len(comparison.runs)}, {len(comparison.arms)} settings; fixed: {fixed}. "
        f"Tokens per run: {spent}. Metric: {comparison.metric}, at the last step. Software: {stack}. "
        f"Commit {first.summary.get('git_commit') or 'unknown'}"
        f"{' with changes' if first.summary.get('git_dirty') else ''}."
    )


def findings(comparison: Comparison) -> list[str]:
    """One sentence for each arm against the baseline, as strong as its interval and no stronger."""
    base, lines = comparison.baseline, []
    for arm in comparison.arms:
        d = arm.difference
        if d is None or not arm.score.n:
            continue
        if d.n < 2:
            lines.append(f"{arm.label}: {number(arm.score.value)}, one pair only; nothing can be said about chance.")
            continue
        if math.isnan(d.low):
            lines.append(f"{arm.label}: {d.value:+.4f} with each of {d.n} seeds; nothing can be said about chance.")
            continue
        clear = arm.p_corrected <= 0.05 and not d.low <= 0 <= d.high
        said = "differs from" if clear else "is not shown to differ from"
        lines.append(
            f"{arm.label} {said} {base.label}: {d.value:+.4f} ({d.low:.4f} to {d.high:.4f}), "
            f"p = {arm.p_corrected:.3g} after correction, n = {d.n}."
        )
    return lines or ["A single setting: nothing was compared."]


def threats(comparison: Comparison) -> list[str]:
    seeds = min((arm.score.n for arm in comparison.arms if arm.score.n), default=0)
    lines = [
        f"{seeds} seed(s) per setting; the t interval takes the spread over seeds to be roughly normal.",
        "Each setting was run with the same hyperparameters; tuning each might order them otherwise.",
        "One corpus and one size; nothing is said about others.",
    ]
    dirty = any(run.summary.get("git_dirty") for run in comparison.runs)
    commits = {run.summary.get("git_commit") for run in comparison.runs if run.summary.get("git_commit")}
    if dirty or len(commits) > 1:
        lines.append("The runs come from changed files or several commits: see each run's summary.json.")
    return lines + comparison.notes


def _tex(text: str) -> str:
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    return "".join(special.get(c, f"\\{c}" if c in "&%$#_{}" else c) for c in text)
