"""rerun= says what is not as it was (N5)."""

import json
from pathlib import Path

from launcher.jobs.repeated import horizon, outcome, summary_of, surroundings, told
from launcher.jobs.summary import code_fingerprint

THEN = {
    "git_commit": "a" * 40, "git_dirty": False, "code_fingerprint": "1", "versions": {"torch": "2.0", "numpy": "2"},
    "data_fingerprint": "d", "tokenizer_fingerprint": "t", "metrics": {"val/loss": 1.5, "val/bpb": 2.0}, "step": 10,
}  # fmt: skip


def test_N5_nothing_differs() -> None:
    assert surroundings(THEN, THEN) == outcome(THEN, THEN) == []
    assert "the same" in told("runs/a", [], same="the same")
    other_commit = THEN | {"git_commit": "b" * 40}
    assert surroundings(THEN, other_commit) == [], "a commit that changes no code"


def test_N5_code_versions_data_and_result_are_each_named() -> None:
    now = THEN | {"git_commit": "b" * 40, "code_fingerprint": "2", "versions": {"torch": "2.1", "numpy": "2"}}
    assert surroundings(THEN, now) == [
        "code: git diff aaaaaaaaaa bbbbbbbbbb shows what changed",
        "torch: 2.0 then, 2.1 now",
    ]
    dirty = THEN | {"code_fingerprint": "2", "git_dirty": True}
    assert surroundings(THEN, dirty) == ["code: files differ from those of that run, at the same commit"]
    old = {key: value for key, value in THEN.items() if key != "code_fingerprint"}
    assert "whether they are the same is not known" in surroundings(old, dirty)[0]
    found = outcome(THEN, THEN | {"data_fingerprint": "e", "metrics": {"val/loss": 1.6}})
    assert found == ["data: not the same as then (d then, e now)", "val/loss: 1.5 then, 1.6 now"]
    assert outcome(THEN, THEN | {"step": 20, "metrics": {"val/loss": 1.2}}) == [], "a longer run is another run"


def test_N5_online_rl_has_no_loss_worth_comparing_its_held_out_reward_is_named() -> None:
    then, now = ({"metrics": {"train/loss": 0.1, "val/reward": value}, "step": 100} for value in (0.6, 0.5))
    assert outcome(then, then) == []
    assert outcome(then, now) == ["val/reward: 0.6 then, 0.5 now"]


def test_F46_a_horizon_that_resume_moved_or_that_is_another_now_is_named(tmp_path: Path) -> None:
    hydra = tmp_path / ".hydra"
    hydra.mkdir()
    (hydra / "config.yaml").write_text("trainer: {max_steps: 20, max_time: null}\n")
    words = ["trainer.max_steps=10", "seed=1"]
    now = {"max_steps": 20, "max_time": None}
    (hydra / "overrides.yaml").write_text(json.dumps([*words, "resume=runs/a", "trainer.max_steps=20"]))
    (line,) = horizon(tmp_path, now)
    assert line.startswith("trainer.max_steps: 10 at first, moved to 20 by resume=, and 20 all along now")
    (hydra / "overrides.yaml").write_text(json.dumps(["trainer.max_steps=20", "resume=runs/a"]))
    assert horizon(tmp_path, now) == [], "it was only interrupted"
    (line,) = horizon(tmp_path, now | {"max_steps": 30})
    assert line.startswith("trainer.max_steps: 20 then, 30 now")


def test_a_run_without_a_summary_is_compared_with_nothing(tmp_path: Path) -> None:
    assert summary_of(tmp_path) is None


def test_the_fingerprint_follows_the_code_and_not_the_tests(tmp_path: Path) -> None:
    for name in ("models", "tests"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
    before = code_fingerprint(tmp_path)
    (tmp_path / "tests" / "test_x.py").write_text("1")
    assert code_fingerprint(tmp_path) == before
    (tmp_path / "models" / "x.py").write_text("1")
    assert code_fingerprint(tmp_path) != before
