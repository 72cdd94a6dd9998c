"""One self-contained HTML page about the stages of an ensemble: figures as SVG, tables, examples in context."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal

from markupsafe import Markup

from evaluation.boosting import Measured, by_category, by_stage, examples, in_context
from evaluation.boosting_moves import Move, Moves
from evaluation.intervals import Estimate
from inspection import page as pages
from inspection.charts import line
from inspection.numbers import number
from inspection.page import Page

LOOKS = (
    "The curve: loss of the ensemble before a stage plus its whole correction; how far it goes is chosen afterwards."
)
STOPPING = (
    "A window or a token that is sure enough goes without further stages. Cost: forward FLOPs as a multiple of the "
    "base's. The last column is what confidence knows: below 0, the rule is better than chance at the same cost. Of "
    "tokens the cost is a bound that no program reaches: later ones read keys and values of earlier ones."
)
SPAN = Markup("<span style='background:rgba({},{:.2f});padding:0 .3em'>{}</span>")


def page(
    found: Measured,
    token_bytes: Any,
    decode: Callable[[list[int]], str],
    *,
    title: str,
    records: list[dict[str, Any]] | None = None,
    moved: dict[tuple[int, int], Moves] | None = None,
    stops: Mapping[Any, list[dict[str, Any]]] | None = None,
    seed: int = 0,
) -> str:
    """The whole page. `moved`: at the places of `example_places`, which tokens rose and which fell. `stops`: by the
    unit that stops, see `evaluation.boosting_stopping`.
    """
    stages = by_stage(found, token_bytes, seed=seed)
    kinds = by_category(found, lambda i: decode([i]))
    made = Page(
        title,
        f"{found.nll_Sn.shape[1]:,} validation tokens in {len(set(found.row_n.tolist())):,} windows. "
        "Intervals are 95 %, over windows; gains are paired.",
    )
    made.add("Loss by stage", curve([row["loss"] for row in stages]) + gain_curve(stages) + stage_table(stages))
    made.add(
        "How sure it is, and how often right",
        calibration_table(stages),
        "Probability of the likeliest token, minus how often it is right (above 0: too sure); and the calibration "
        "error, the mean distance of the two over ten bins of probability.",
    )
    if records:
        looked = looks_curve(records)
        made.add("How each stage was chosen", record_table(records) + looked, LOOKS if looked else "")
    if stops:
        made.add("Stopping early", stopping_table(stops), STOPPING)
    moves_far = Markup(
        "<p>How far each stage moves the state of a target: norm of the correction, times its step.</p>"
    ) + category_table(kinds, found.stages, show="norms")
    made.add(
        "What each stage corrects",
        category_table(kinds, found.stages) + moves_far,
        "Nats per target that a stage takes off the loss (negative: it adds).",
    )
    made.add(
        "Do stages repeat each other?",
        cosine_table(found),
        "Mean cosine between the corrections of two stages, per token.",
    )
    for m in range(found.stages):
        made.add(f"Stage {m + 1}: largest corrections in context", example_section(found, m, decode, moved or {}))
    return made.html()


def table(head: list[str], rows: list[list[str]]) -> Markup:
    return pages.table(head, rows, kind="figures")


def shown(value: Estimate | None) -> str:
    if value is None:
        return ""
    if math.isnan(value.low):
        return number(value.value)
    return Markup("{} <small>{} to {}</small>").format(*map(number, value[:3]))


def stage_table(stages: list[dict[str, Any]]) -> Markup:
    rows = [
        [
            "base" if row["stage"] == 0 else str(row["stage"]),
            *(shown(row.get(name)) for name in ("loss", "gain", "bpb", "accuracy")),
            number(row.get("norm")),
            number(row["residual"]),
        ]
        for row in stages
    ]
    return table(["stage", "loss", "gain", "bits per byte", "accuracy", "correction", "residual left"], rows)


def calibration_table(stages: list[dict[str, Any]]) -> Markup:
    rows = [
        ["base" if row["stage"] == 0 else str(row["stage"]), shown(row["overconfidence"]), number(row["ece"])]
        for row in stages
    ]
    return table(["stage", "too sure by", "calibration error"], rows)


def looks_curve(records: list[dict[str, Any]]) -> Markup:
    """Loss on the dev part over updates, where it was looked at; each stage at its full step."""
    looked = {f"stage {r['stage']}": [(float(x), float(y)) for x, y in r["looks"]] for r in records if r.get("looks")}
    return line(looked, x="updates", y="loss on the dev part (nats per token)") if looked else Markup()


def stopping_table(stops: Mapping[Any, list[dict[str, Any]]]) -> Markup:
    rows = []
    for unit, found in stops.items():
        for row in found:
            rule = "all, no rule" if row["rule"] is None else f"a {unit} that is {row['rule']:.3f} sure stops"
            if row["rule"] is None and unit != next(iter(stops)):
                continue
            cells = [number(row["stages"]), number(row["flops"]), number(row["loss"]), shown(row.get("against"))]
            rows.append([rule, *cells])
    return table(["rule", "stages", "passes of the base", "loss", "minus as many stopped unasked"], rows)


def record_table(records: list[dict[str, Any]]) -> Markup:
    names = ["eta", "kept", "dev/loss", "edge", "r2", "kl", "parameters", "seconds"]
    rows = [[str(r["stage"]), *(_number(r.get(name)) for name in names)] for r in records]
    return table(["stage", *names], rows)


def _number(value: Any) -> str:
    return str(value) if isinstance(value, bool | str) else number(value)


def category_table(kinds: list[dict[str, Any]], stages: int, *, show: Literal["gains", "norms"] = "gains") -> Markup:
    """A line for each category. Colours are scaled by categories with at least a hundredth of the targets."""
    total = sum(row["targets"] for row in kinds if row["family"] == kinds[0]["family"])  # the same in each family
    weighty = [row for row in kinds if 100 * row["targets"] >= total]
    largest = max((abs(g) for row in weighty for g in row[show]), default=1.0) or 1.0
    rows, family = [], None
    for row in sorted(kinds, key=lambda r: (r["family"], r["name"])):
        if row["family"] != family:
            family = row["family"]
            rows.append([Markup("<b>{}</b>").format(family), *[""] * (3 + stages)])
        cells = [_shade(value, largest, signed=show == "gains") for value in row[show]]
        facts = [f"{row['targets']:,}", number(row["before"]), number(row["after"])]
        rows.append([row["name"], *facts, *cells])
    return table(["targets", "count", "before", "after", *(f"stage {m + 1}" for m in range(stages))], rows)


def _shade(value: float, largest: float, *, signed: bool) -> Markup:
    """A number on a colour. Gains: green takes loss off, red adds it. Norms: the stronger the larger."""
    strength = min(1.0, abs(value) / largest)
    hue = "40,90,190" if not signed else "30,140,90" if value >= 0 else "190,60,50"
    shown = f"{value:+.4f}" if signed else number(value)
    return SPAN.format(hue, 0.55 * strength, shown)


def cosine_table(found: Measured) -> Markup:
    head = ["", *(f"stage {m + 1}" for m in range(found.stages))]
    return table(head, [[head[m + 1], *(f"{c:+.2f}" for c in row)] for m, row in enumerate(found.cosine_MM)])


KINDS = {"norm": "largest", "helped": "helped most", "harmed": "harmed most"}  # of examples


def example_places(found: Measured) -> list[tuple[int, int]]:
    """(stage from 0, target) of all examples on the page."""
    return [(m, n) for m in range(found.stages) for n in {n for by in KINDS for n in examples(found, m, by=by)}]


def example_section(
    found: Measured, m: int, decode: Callable[[list[int]], str], moved: dict[tuple[int, int], Moves]
) -> Markup:
    parts = Markup()
    head = ["context and target", "nats", "norm", *(["most raised", "most lowered"] if moved else [])]
    for by, words in KINDS.items():
        rows = []
        for at in examples(found, m, by=by):
            before, target = in_context(found, at, decode)
            old, new = found.nll_Sn[m, at], found.nll_Sn[m + 1, at]
            change = Markup("<span class={}>{:.2f} &rarr; {:.2f}</span>").format(
                "down" if new <= old else "up", old, new
            )
            text = Markup("<code>{}<mark>{}</mark></code>").format(before, target)
            rows.append([text, change, f"{found.norm_Mn[m, at]:.2f}"])
            if (there := moved.get((m, at))) is not None:
                rows[-1] += [_told(there.raised, decode), _told(there.lowered, decode)]
        parts += Markup("<h3>{}</h3>").format(words) + table(head, rows)
    return parts


def _told(tokens: list[Move], decode: Callable[[list[int]], str]) -> Markup:
    """Each token with its probability before and after, in per cent."""
    told = Markup("<code>{}</code> {:.1f} &rarr; {:.1f} %")
    lines = (told.format(repr(decode([t.token]))[1:-1], 100 * t.before, 100 * t.after) for t in tokens)
    return Markup("<br>").join(lines)


def gain_curve(stages: list[dict[str, Any]]) -> Markup:
    told = Markup("<p>What each stage takes off it, before and after compared window by window:</p>")
    gains = [row["gain"] for row in stages if "gain" in row]
    return told + curve(gains, first=1, y="gain (nats per token)") if gains else told


def curve(estimates: list[Estimate], *, first: int = 0, y: str = "loss (nats per token)") -> Markup:
    """An estimate for each stage from `first` on, with its interval where it has one."""
    points = [(float(k), e.value) for k, e in enumerate(estimates, first)]
    known = [(float(k), e.low, e.high) for k, e in enumerate(estimates, first) if not math.isnan(e.low)]
    return line({y: points}, x="stages in use (0: the base alone)" if first == 0 else "stage", y=y, intervals=known)
