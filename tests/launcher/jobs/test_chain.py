"""Jobs that build on each other, on the toy lab: checked before the first starts, run in order, gone on with."""

import json
import subprocess
import sys
from pathlib import Path

from tests.launcher.conftest import clean_environment

SCRIPT = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from errors import Interrupted, RequestError, RunError
from launcher.jobs.chain import Step, rehearsal, run_step
from launcher.lab import Lab
import json
lab, folder = Lab(Path(sys.argv[1])), Path("chain")
steps = [Step(name, tuple(words)) for name, words in json.loads(sys.argv[2])]
try:
    with rehearsal(lab, folder) as compose:
        for step in steps:
            compose(step)
    folder.mkdir(exist_ok=True)
    for step in steps:
        found = run_step(step, folder, lab)
        print(step.name, found["status"], found["processor_seconds"] > 0)
except (RequestError, RunError, Interrupted) as error:
    print(type(error).__name__, error)
"""


def chain(root: Path, cwd: Path, **steps: list[str]) -> str:
    cwd.mkdir(exist_ok=True)
    words = json.dumps(list(steps.items()))
    command = [sys.executable, "-c", SCRIPT, str(root), words]
    done = subprocess.run(command, cwd=cwd, env=clean_environment(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_steps_run_in_order_and_what_is_finished_is_left_alone(toy_root: Path, tmp_path: Path) -> None:
    steps = {"a": ["seed=3"], "b": ["data.path={a}/ran0.txt", "seed=3"]}
    first = chain(toy_root, tmp_path, **steps)
    assert [line for line in first.splitlines() if line.endswith("True")] == ["a finished True", "b finished True"]
    assert "path: chain/a/ran0.txt" in (tmp_path / "chain/b/.hydra/config.yaml").read_text()
    again = chain(toy_root, tmp_path, **steps, c=["data.path={b}"])
    assert again.count("finished before") == 2
    assert (tmp_path / "chain/a/ran0.txt").read_text().count("\n") == 1
    assert (tmp_path / "chain/c/summary.json").is_file()


def test_every_step_is_checked_before_the_first_starts(toy_root: Path, tmp_path: Path) -> None:
    said = chain(toy_root, tmp_path, a=[], b=["model.widht=3"])
    assert said.startswith("RequestError b (model.widht=3):")
    assert "Did you mean model.width" in said
    assert not (tmp_path / "chain").exists()
    assert "runs in a folder of its own" in chain(toy_root, tmp_path, a=["run_dir=elsewhere"])


def test_what_fails_stops_the_rest_and_is_gone_on_with(toy_root: Path, tmp_path: Path) -> None:
    failing = {"a": [], "b": ["data.action=run_error"], "c": []}
    assert "RunError b failed: loss is NaN" in chain(toy_root, tmp_path, **failing)
    assert not (tmp_path / "chain/c").exists()
    again = chain(toy_root, tmp_path, **failing)
    assert "finished before" in again
    assert "failed before: it goes on" in again
    stopped = chain(toy_root, tmp_path / "other", a=["data.action=stopped"], b=[])
    assert "Interrupted" in stopped
    assert "RequestError a: the corpus is empty" in chain(toy_root, tmp_path / "third", a=["data.action=request"])
