"""Sections for runs with experts and with boosted stages; none for the others."""

import json
from pathlib import Path

import pytest

from reports.collect import find_runs
from reports.comparison import compare
from reports.page import page
from reports.rollouts import panels
from reports.views import losses_by_look, sections

MOE = {"train/moe/load_entropy": 0.9, "train/moe/maxvio": 0.5, "train/moe/dead_experts": 0.0}


def test_experts_and_stages_have_sections_where_runs_have_them(write_run, tmp_path: Path) -> None:
    for seed in (1, 2):
        write_run(f"{seed}-gpt", {"model": "gpt", "seed": seed}, {"val/bpb": 2.0}, choices={"model": "gpt"})
    assert sections(compare(find_runs(str(tmp_path / "sweep")))) == []
    for seed in (1, 2):
        metrics = {"val/bpb": 1.9} | MOE | {"train/moe/maxvio": 0.5 + seed}
        write_run(f"{seed + 2}-moe", {"model": "moe", "seed": seed}, metrics, choices={"model": "moe"})
        stages = [
            {"stage": 0, "val/loss": 2.0},
            {
                "stage": 1,
                "val/loss": 1.9 + seed / 10,
                "eta": 0.5,
                "kept": seed == 1,
                "looks": [[25, 2.0], [50, 1.5 + seed]],
            },
        ]
        write_run(
            f"{seed + 4}-boost", {"model": "x", "seed": seed}, {"val/bpb": 3}, choices={"model": "x"}, stages=stages
        )
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    routing, boosted = sections(comparison)
    (row,) = routing.rows
    assert row["setting"] == "model=moe"
    assert row["busiest expert above its share"] == "2.0000"
    assert [r["stage"] for r in boosted.rows] == ["base", "1"]
    assert boosted.rows[1]["val/loss"] == "2.0500"
    assert boosted.rows[1]["kept"] == "1 of 2"
    assert float(boosted.rows[1]["eta"]) == pytest.approx(0.5)
    assert "<svg" in boosted.figures["loss by stage"]
    assert "<svg" in boosted.figures["looks at the dev part"]
    assert [losses_by_look(arm) for arm in comparison.arms if arm.label == "model=x"] == [
        {25: [2.0, 2.0], 50: [2.5, 3.5]}
    ]
    made = page(comparison, title="t", commands=[])
    assert "<h2>Routing</h2>" in made
    assert "<h2>Boosted stages</h2>" in made


def test_online_rl_shows_its_reward_beside_right_answers(write_run, tmp_path: Path) -> None:
    """Gains by hand: the reward by 0.5 and 0.7, right answers by -0.1 and 0.3; the curves begin before training."""
    for seed, (reward, right) in enumerate([(1.5, 0.3), (1.7, 0.7)], start=1):
        held = {"before": {"reward": 1.0, "sampled_exact_match": 0.4}}
        held |= {"after": {"reward": reward, "sampled_exact_match": right}}
        metrics = {"val/reward": reward, "objective/kl": 1.0 + seed}
        folder = write_run(f"{seed}-ppo", {"seed": seed}, metrics, held_out=held)
        head = "step,tokens_seen,val/reward,val/sampled_exact_match"
        rows = [f"{step},{step},{1 + (reward - 1) * step / 10},{right}" for step in (5, 10)]
        (folder / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")
    write_run("3-broken", {"seed": 3}, {"val/reward": 1.0}, held_out={"before": {}, "after": "?"})
    comparison = compare(find_runs(str(tmp_path / "sweep")), metric="val/reward")
    (section,) = sections(comparison)
    (row,) = section.rows
    assert row["n"] == "2"
    assert (row["reward, before"], row["reward, after"]) == ("1.0000", "1.6000")
    assert row["reward, gain"].startswith("+0.6000 (")
    assert row["right, drawn, gain"].startswith("+0.1000 (-")
    assert row["objective/kl"] == "2.5000"
    reward, right = panels(comparison)
    assert list(reward.lines.values()) == [{0: [1.0, 1.0], 5: [1.25, 1.35], 10: [1.5, 1.7]}]
    assert list(right.lines.values()) == [{0: [0.4, 0.4], 5: [0.3, 0.7], 10: [0.3, 0.7]}]
    assert "<svg" in section.figures["reward and right answers"]


def test_a_curve_of_the_router_over_tokens(write_run, tmp_path: Path) -> None:
    folder = write_run("0-moe", {"model": "moe", "seed": 1}, {"val/bpb": 1.9} | MOE)
    rows = [f"{step},{step * 10},500,{0.1 * step}" for step in (1, 2, 3)]
    head = "step,tokens_seen,train/tokens_per_second,train/moe/load_entropy"
    (folder / "metrics.csv").write_text("\n".join([head, *rows]) + "\n")
    (routing,) = sections(compare(find_runs(str(tmp_path / "sweep"))))
    assert list(routing.figures) == ["evenness of loads (1: all alike)"]


def test_of_every_benchmark_run_the_unread_are_counted_and_ten_are_shown(write_run, tmp_path: Path) -> None:
    for seed, lost in ((1, 12), (2, 0)):
        folder = write_run(f"{seed}-eval", {"model": "gpt", "seed": seed}, {"test/gsm8k/exact_match": 0.5})
        told = [
            {"question": f"q{i}", "expected": "#### 4", "answer": "<b>four</b> " * 40} for i in range(min(lost, 10))
        ]
        facts = {"benchmark": "gsm8k", "mode": "generate", "n": 100, "sources": 90, "unread": lost}
        (folder / "evaluation.json").write_text(json.dumps(facts | {"unread_answers": told}))
    write_run("3-fit", {"model": "gpt", "seed": 3}, {"test/gsm8k/exact_match": 0.4})
    comparison = compare(find_runs(str(tmp_path / "sweep")))
    counted, shown = sections(comparison)
    assert [(row["seed"], row["questions"], row["sources"], row["unread"]) for row in counted.rows] == [
        ("1", "100", "90", "12"), ("2", "100", "90", "0"),
    ]  # fmt: skip
    assert [row["question"] for row in shown.rows] == [f"q{i}" for i in range(10)]
    assert len(shown.rows[0]["answer"]) == 200
    made = page(comparison, title="t", commands=[])
    assert "<h2>Answers that could not be read</h2>" in made
    assert "&lt;b&gt;four" in made
