"""From run folders to the table: what is averaged, what is only listed, and what is refused."""

import csv
import math
import re
from pathlib import Path

import numpy as np
import pytest

from errors import RequestError
from launcher.cli import main
from reports.collect import find_runs, not_started
from reports.comparison import compare
from reports.figures import MOST_ARMS, arm_curve, curves, outside, scaling
from reports.page import page
from reports.paper import latex, markdown
from reports.tables import arm_rows, to_markdown, verdict
from tests.hostile import HOSTILE, assert_stays_text

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sweep(write_run, tmp_path: Path) -> Path:
    """Two settings by three seeds; one job failed after it had logged a value, one was killed, one diverged to null."""
    number = 0
    for lr, base in (("1e-3", 2.0), ("1e-2", 2.3)):
        for seed in (1, 2, 3):
            bpb = base + 0.01 * seed * (1 if lr == "1e-3" else -1)
            write_run(
                f"{number}-lr_{lr}_seed_{seed}",
                {"optimizer.lr": lr, "seed": seed},
                {"val/bpb": bpb, "val/loss": bpb * math.log(2)},
                curve=[(5, bpb + 1), (10, bpb)],
            )
            number += 1
    write_run("6-failed", {"optimizer.lr": "1e-3", "seed": 4}, {"val/bpb": 99.0}, status="failed", error="NaN")
    write_run("7-killed", {"optimizer.lr": "1e-3", "seed": 5}, None, status=None)
    return tmp_path / "sweep"


def test_N35_one_table_per_sweep_over_seeds(sweep: Path) -> None:
    comparison = compare(find_runs(str(sweep)))
    best, other = comparison.arms
    assert (comparison.metric, best.label, other.label) == ("val/bpb", "optimizer.lr=1e-3", "optimizer.lr=1e-2")
    assert (best.score.n, best.score.value, best.score.deviation) == pytest.approx((3, 2.02, 0.01))
    # differences 0.28, 0.26, 0.24
    assert (other.difference.value, other.difference.n) == pytest.approx((0.26, 3))
    assert comparison.baseline is best
    row = arm_rows(comparison)[0]
    assert row["optimizer.lr"] == "1e-3"
    assert row["status"] == "3 finished, 1 failed, 1 unfinished"
    assert "seed" not in row
    assert "99" not in row["val/bpb (mean)"], "a failed job is listed, never averaged in"


def test_the_order_of_jobs_is_that_of_their_numbers(write_run, tmp_path: Path) -> None:
    for number in (10, 2, 1):
        write_run(f"{number}-x", {"seed": number}, {"val/loss": 1.0})
    assert [run.path.name for run in find_runs(str(tmp_path / "sweep"))] == ["1-x", "2-x", "10-x"]


def test_a_report_may_lie_in_the_folder_of_its_sweep(sweep: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    """It is no run to compare, neither while it is written nor afterwards."""
    monkeypatch.chdir(tmp_path)
    for name in ("first", "second"):
        assert main(["task=report", "runs=sweep", f"run_dir=sweep/{name}"], ROOT) == 0
        assert "| optimizer.lr | n | val/bpb (mean)" in capsys.readouterr().out
    assert len(find_runs(str(sweep))) == 8


def test_options_count_as_factors_also_where_nothing_was_typed(write_run, tmp_path: Path) -> None:
    paths = [write_run(f"{m}", {"seed": 1}, {"val/loss": 1.0}, choices={"model": m}) for m in ("gpt", "moe")]
    assert [run.factors for run in find_runs([str(path) for path in paths])] == [{"model": "gpt"}, {"model": "moe"}]


def test_a_default_meets_a_typed_value(write_run, tmp_path: Path) -> None:
    """One run typed the key, the other has it from its config."""
    write_run("0-a", {"model.n_layer": 4, "seed": 1}, {"val/loss": 1.0})
    other = write_run("1-b", {"seed": 1}, {"val/loss": 1.0})
    (other / ".hydra/config.yaml").write_text("model: {n_layer: 2}\n")
    assert [run.factors["model.n_layer"] for run in find_runs(str(tmp_path / "sweep"))] == ["4", "2"]


def test_two_seeds_come_with_a_caution(write_run, tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        write_run(f"{seed}-gpt", {"model": "gpt", "seed": seed}, {"val/bpb": 2.0 + seed / 10}, choices={"model": "gpt"})
        if seed < 3:
            write_run(
                f"{seed}-moe", {"model": "moe", "seed": seed}, {"val/bpb": 1.9 + seed / 9}, choices={"model": "moe"}
            )
    notes = compare(find_runs(str(tmp_path / "sweep"))).notes
    (caution,) = [note for note in notes if "caution" in note]
    assert "model=moe" in caution
    assert "model=gpt" not in caution


def test_N42_different_tokenizers_are_ranked_by_bits_per_byte(write_run, tmp_path: Path) -> None:
    write_run("0-a", {"tokenizer": "byte", "seed": 1}, {"val/loss": 1.0, "val/bpb": 2.0}, choices={"tokenizer": "byte"})
    write_run("1-b", {"tokenizer": "bpe", "seed": 1}, {"val/loss": 4.0, "val/bpb": 1.5}, choices={"tokenizer": "bpe"})
    assert [arm.label for arm in compare(find_runs(str(tmp_path / "sweep"))).arms] == [
        "tokenizer=bpe",
        "tokenizer=byte",
    ]


def test_N42_a_loss_per_token_that_was_asked_for_is_said_not_to_compare(write_run, tmp_path: Path) -> None:
    for number, name in enumerate(("byte", "bpe")):
        values = {"val/loss": 1.0, "val/bpb": 2.0, "val/accuracy": 0.5}
        write_run(f"{number}-a", {"tokenizer": name, "seed": 1}, values, choices={"tokenizer": name})
    found = find_runs(str(tmp_path / "sweep"))
    warned = {m: any("Tokenizers differ" in note for note in compare(found, metric=m).notes)
              for m in (None, "val/bpb", "val/loss", "val/accuracy")}  # fmt: skip
    assert warned == {None: False, "val/bpb": False, "val/loss": True, "val/accuracy": False}


def test_N35_sizes_are_fitted_and_drawn_with_plain_numbers(write_run, tmp_path: Path) -> None:
    for number, (size, seed) in enumerate((size, seed) for size in (1000, 4000, 16000) for seed in (1, 2)):
        loss = 8.0 * size**-0.1 + 0.01 * (seed - 1.5)
        counts = {"total": size, "active": size}
        write_run(f"{number}-x", {"model.n_embd": size, "seed": seed}, {"val/bpb": loss}, parameters=counts)
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    drawn, law = scaling(comparison)
    assert law.exponent == pytest.approx(0.1, abs=1e-6)
    labels = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert {"3", "4"} <= set(labels)  # losses from 3.04 to 4.01, and not 3 x 10^0
    assert "<h2>Scaling</h2>" in page(comparison, title="x", commands=[])
    few = [run for run in comparison.runs if run.summary["parameters"]["active"] < 16000]
    assert scaling(compare(few)) is None  # two sizes are no law


def test_losses_over_other_tokens_are_not_ranked_by(write_run, tmp_path: Path) -> None:
    """Once, runs that validate on all tokens were "worse" than runs that validate on answers alone."""
    for number, (learn, loss, right) in enumerate((("assistant", 0.2, 0.1), ("all", 0.4, 0.3))):
        values = {"val/loss": loss, "val/bpb": loss, "val/unparsed": 0.0, "val/exact_match": right}
        write_run(f"{number}-a", {"data.learn": learn, "seed": 1}, values)
    found = find_runs(str(tmp_path / "sweep"))
    comparison = compare(found)
    assert (comparison.metric, comparison.arms[0].label) == ("val/exact_match", "data.learn=all")
    assert not any("does not compare" in note for note in comparison.notes)
    notes = compare(found, metric="val/bpb").notes
    assert "data.learn differs: val/bpb is over other tokens in each and does not compare; " in " ".join(notes)
    assert "report.metric=val/exact_match does" in " ".join(notes)


def test_a_run_that_finished_without_a_number_is_told_and_so_is_a_single_seed(write_run, tmp_path: Path) -> None:
    """summary.json holds null for what was NaN: averaging the other seeds in silence would flatter the setting."""
    for number, (lr, seed) in enumerate([(1, 1), (1, 2), (2, 1), (2, 2)]):
        value = None if (lr, seed) == (2, 2) else 2.0 + 0.1 * number
        write_run(f"{number}-x", {"optimizer.lr": lr, "seed": seed}, {"val/bpb": value, "val/loss": 1.0})
    notes = " ".join(compare(find_runs(str(tmp_path / "sweep")), metric=None).notes)
    assert "1 finished run(s) came to no finite val/bpb (3-x)" in notes
    assert "One seed only, so neither an interval nor a p-value: optimizer.lr=2." in notes


def test_higher_is_better_for_accuracy(write_run, tmp_path: Path) -> None:
    for number, (lr, value) in enumerate([("1", 0.5), ("2", 0.9)]):
        write_run(f"{number}-x", {"optimizer.lr": lr, "seed": 1}, {"val/accuracy": value})
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    assert comparison.arms[0].label == "optimizer.lr=2"
    assert not any("not known" in note for note in comparison.notes)
    odd = write_run("2-x", {"optimizer.lr": "1", "seed": 1}, {"val/odd": 1.0})
    assert any("less is ranked as better" in note for note in compare(find_runs(str(odd))).notes)
    assert any("One seed" in note for note in comparison.notes)
    assert arm_rows(comparison)[0]["p (Holm)"] == ""


def test_curves_are_averaged_over_seeds_at_equal_tokens_and_a_torn_row_is_left_out(sweep: Path) -> None:
    (file,) = sweep.glob("0-*/metrics.csv")
    file.write_text(file.read_text() + "11,1e")
    arm = compare(find_runs(str(sweep))).arms[0]
    grid, low, middle, high = arm_curve(arm, "val/bpb", "tokens")
    assert (grid[0], grid[-1]) == (500, 1000)
    assert (low[-1], middle[-1], high[-1]) == pytest.approx((2.01, 2.02, 2.03))
    seconds = arm_curve(arm, "val/bpb", "seconds")[0]
    assert (seconds[0], seconds[-1]) == (1.0, 2.0)
    assert np.all(low <= high)


def test_a_seed_that_failed_early_does_not_cut_the_curve_of_the_others(sweep: Path, write_run) -> None:
    failed = write_run("9-x", {"optimizer.lr": "1e-3", "seed": 9}, {}, status="failed", curve=[(1, 9.0), (2, 9.0)])
    arm = next(arm for arm in compare(find_runs(str(sweep))).arms if failed in [run.path for run in arm.runs])
    assert arm_curve(arm, "val/bpb", "tokens")[0][-1] == 1000


def test_F44_a_seed_that_takes_longer_is_drawn_to_its_own_end(write_run, tmp_path: Path) -> None:
    """Once all stopped where the fastest did: 100 tokens a step, the second seed goes on to 500."""
    write_run("0-x", {"seed": 1}, {"val/bpb": 2.0}, curve=[(1, 4.0), (3, 2.0)])
    write_run("1-x", {"seed": 2}, {"val/bpb": 1.0}, curve=[(2, 3.0), (5, 1.0)])
    (arm,) = compare(find_runs(str(tmp_path / "sweep"))).arms
    assert arm_curve(arm, "val/bpb", "tokens")[0][[0, -1]].tolist() == [200, 300]
    pieces = [(at.tolist(), values.tolist()) for at, values in outside(arm, "val/bpb", "tokens")]
    assert pieces == [([100, 200], [4.0, 3.0]), ([300, 500], [pytest.approx(7 / 3), 1.0])]


def test_F44_seeds_that_share_no_place_are_drawn_each(write_run, tmp_path: Path) -> None:
    write_run("0-x", {"seed": 1}, {"val/bpb": 2.0}, curve=[(1, 4.0), (2, 2.0)])
    write_run("1-x", {"seed": 2}, {"val/bpb": 1.0}, curve=[(3, 3.0), (4, 1.0)])
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    assert arm_curve(comparison.arms[0], "val/bpb", "tokens") is None
    assert len(outside(comparison.arms[0], "val/bpb", "tokens")) == 2
    assert curves(comparison, "tokens")


def test_F44_two_seeds_come_with_a_caution_and_settings_that_are_not_drawn_are_counted(write_run, tmp_path) -> None:
    for number in range(2 * (MOST_ARMS + 1)):
        values = {"val/bpb": 2.0 + number / 10 + number % 2}
        write_run(f"{number}-x", {"optimizer.lr": number // 2, "seed": number % 2}, values)
    made = page(compare(find_runs(str(tmp_path / "sweep"))), title="t", commands=[])
    assert "Two seeds only, to be read with caution: optimizer.lr=0; optimizer.lr=1" in made
    assert f"The best {MOST_ARMS} settings; 1 more are in the tables." in made


def test_F44_figures_take_the_colour_of_the_page(sweep: Path) -> None:
    drawn = curves(compare(find_runs(str(sweep))), "tokens")
    assert "currentColor" in drawn
    assert not re.search(r"(?i)#000000|#ffffff|: black", drawn)


def test_the_verdict_claims_no_more_than_the_interval_carries(write_run, tmp_path: Path) -> None:
    for number, (lr, seed, value) in enumerate([(1, 1, 2.0), (1, 2, 2.2), (2, 1, 2.1), (2, 2, 2.0)]):
        write_run(f"{number}-x", {"optimizer.lr": lr, "seed": seed}, {"val/bpb": value})
    assert verdict(compare(find_runs(str(tmp_path / "sweep")))).startswith("No setting is shown to differ")


def test_the_verdict_looks_past_a_noisy_best_and_names_what_is_worse(write_run, tmp_path: Path) -> None:
    arms = {"1": [2.0, 2.01, 2.02, 2.03], "2": [1.0, 1.01, 1.02, 1.03], "3": [0.1, 2.9, 0.2, 0.1]}
    for number, (lr, seed) in enumerate((lr, seed) for lr in arms for seed in range(4)):
        write_run(f"{number}-x", {"optimizer.lr": lr, "seed": seed}, {"val/bpb": arms[lr][seed] + 0.001 * (number % 3)})
    found = find_runs(str(tmp_path / "sweep"))
    assert verdict(compare(found, baseline="optimizer.lr=1")).startswith("optimizer.lr=2 is better: val/bpb -0.99")
    said = verdict(compare(found, baseline="optimizer.lr=2"))
    assert said.startswith("optimizer.lr=1 is worse: val/bpb +0.99")
    assert said.endswith("; no other setting is shown to differ from optimizer.lr=2.")


def test_the_verdict_names_all_that_differ(write_run, tmp_path: Path) -> None:
    """Once, "no other setting is shown to differ" stood behind the worst of three that did."""
    means = {"2": 2.0, "1": 1.0, "3": 3.0, "4": 4.0, "5": 5.0}
    for number, (lr, seed) in enumerate((lr, seed) for lr in means for seed in range(4)):
        value = means[lr] + 0.01 * seed + 0.001 * (7 * number**2 % 11)  # no two alike
        write_run(f"{number:02}-x", {"optimizer.lr": lr, "seed": seed}, {"val/bpb": value})
    found = find_runs(str(tmp_path / "sweep"))
    said = verdict(compare(found))
    assert re.fullmatch(
        r"optimizer.lr=1 is better: .*; optimizer.lr=5 is worse: .*; so are optimizer.lr=4 and optimizer.lr=3\.", said
    )
    said = verdict(compare(found, baseline="optimizer.lr=1"))
    assert said.endswith("; so are optimizer.lr=4, optimizer.lr=3 and optimizer.lr=2.")


def test_a_clear_difference_is_said_with_its_interval(sweep: Path) -> None:
    comparison = compare(find_runs(str(sweep)), baseline="optimizer.lr=1e-2")
    assert verdict(comparison).startswith("optimizer.lr=1e-3 is better: val/bpb -0.2600 against optimizer.lr=1e-2")


def test_the_same_difference_with_every_seed_is_not_called_better(write_run, tmp_path: Path) -> None:
    """As accuracies of a few questions give it."""
    for number, (lr, seed) in enumerate((lr, seed) for lr in (1, 2) for seed in (1, 2)):
        write_run(f"{number}-x", {"optimizer.lr": lr, "seed": seed}, {"val/accuracy": 0.4 + 0.1 * lr + 0.1 * seed})
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    assert verdict(comparison) == (
        "No setting is shown to differ from optimizer.lr=1: optimizer.lr=2 has val/accuracy +0.1000 against "
        "optimizer.lr=1 (n = 2, the same difference with every seed)."
    )
    assert any("The same difference with every seed" in note for note in comparison.notes)
    assert arm_rows(comparison)[0]["p (Holm)"] == ""
    assert "nan" not in "".join(markdown(comparison, title="t", commands=[], figures=[]))


def test_page_paper_and_table_hold_the_same_numbers_and_escape_what_they_show(sweep: Path, write_run) -> None:
    write_run("8-x", {"optimizer.lr": "<b>&_", "seed": 1}, {"val/bpb": 3.0})
    comparison = compare(find_runs(str(sweep)))
    commands = ["python run.py -m x"]
    web = page(comparison, title="a < b", commands=commands)
    assert "2.0200" in web
    assert "<b>&_" not in web
    assert web.count("<svg") == 3
    assert "http" not in web.split("<svg")[0], "nothing is fetched"
    assert len(web) < 3_000_000
    assert "2.0200" in to_markdown(arm_rows(comparison))
    text = markdown(comparison, title="t", commands=commands, figures=[])
    assert "## Threats to validity" in text
    tex = latex(comparison, title="50% & more_", commands=commands, figures=["curves.pdf"])
    assert r"\includegraphics[width=\linewidth]{curves.pdf}" in tex
    assert r"50\% \& more\_" in tex
    assert "2.0200" in tex


def test_hostile_text_stays_text_on_the_page(write_run, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(f"{seed}-x", {"model.kind": HOSTILE, "seed": seed}, {"val/bpb": seed}, curve=[(1, 2.0), (2, 1.0)])
        write_run(f"{seed}-y", {"model.kind": "b", "seed": seed}, {"val/bpb": seed + 1})
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    assert_stays_text(page(comparison, title=HOSTILE, commands=[HOSTILE]), times=5)


def test_the_task_writes_its_files_and_prints_the_table(sweep: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["task=report", "runs=sweep", "run_dir=out", "report.style=paper"]
    assert main(words, ROOT) == 0
    names = {"report.html", "report.md", "arms.csv", "runs.csv", "paper.md", "paper.tex", "curves.svg", "intervals.svg"}
    names |= {"curves.pdf", "intervals.pdf"}
    assert names <= {file.name for file in (tmp_path / "out").iterdir()}
    assert (tmp_path / "out/curves.pdf").read_bytes().startswith(b"%PDF")
    rows = list(csv.DictReader((tmp_path / "out/runs.csv").open()))
    assert [row["status"] for row in rows].count("finished") == 6
    assert "| 1e-3 | 3 | 2.0200 |" in capsys.readouterr().out


def test_jobs_that_never_began_are_told_and_the_command_repeats_this_report(
    sweep, tmp_path, capsys, monkeypatch
) -> None:
    """A sweep that was killed at job 8 of 10: the last two left no folder."""
    monkeypatch.chdir(tmp_path)
    (sweep / "sweep.json").write_text('{"words": [], "swept": [], "jobs": 10}')
    words = ["task=report", "runs=sweep", "report.metric=val/loss", "report.baseline=optimizer.lr=1e-2"]
    assert main([*words, "run_dir=out"], ROOT) == 0
    told = "2 of the 10 jobs of sweep have not begun. To go on with them: python run.py resume=sweep"
    assert told in capsys.readouterr().out
    written = (tmp_path / "out/report.md").read_text()
    assert told in written
    assert " ".join(["python run.py", *words]) in written
    for name in ("report", "report-2"):  # in the folder of the sweep, where nobody needs to look for it
        assert main(["task=report", "runs=sweep"], ROOT) == 0
        assert (sweep / name / "report.html").is_file()
    assert not (tmp_path / "outputs").exists()
    (sweep / "sweep.json").write_text('{"words": [], "swept": [], "jobs": 8}')
    assert not_started("sweep") == []


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["runs=nowhere"], "no such folder"),
        (["runs=empty"], "no run is in it"),
        ([], "task=report needs runs"),
        (["runs=sweep", "report.metric=val/f1"], "They share: val/bpb, val/loss"),
        (["runs=sweep", "report.baseline=optimizer.lr=7"], "fits no arm"),
        (["runs=sweep/7-killed"], "none of the 1 runs has finished (unfinished)"),
    ],
)
def test_wrong_requests_exit_2(words, says, sweep: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    assert main(["task=report", "run_dir=out", *words], ROOT) == 2
    assert says in capsys.readouterr().err


def test_runs_that_share_no_metric(write_run, tmp_path: Path) -> None:
    write_run("0-a", {"seed": 1}, {"val/loss": 1.0})
    write_run("1-b", {"seed": 1}, {"val/accuracy": 1.0})
    with pytest.raises(RequestError, match="share no metric"):
        compare(find_runs(str(tmp_path / "sweep")))
