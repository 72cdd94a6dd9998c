"""The command line itself, as a user meets it: fast, from anywhere, with exit statuses and plain words."""

import json
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "lightning", "numpy", "transformers", "pandas", "pyarrow", "tensorboard", "matplotlib")
SMALL = ("debug=fast", "model.n_layer=1", "model.n_embd=32")
OURS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "HYDRA_FULL_ERROR")


def run(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key not in OURS}
    command = [sys.executable, str(ROOT / "run.py"), *words]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=240)


@pytest.mark.parametrize("words", [["--help"], ["model.n_layr=3"], ["--cfg", "job"], ["-m", "model=gpt,gptt"]])
def test_nothing_heavy_is_imported_before_the_config_is_valid(words: list[str], tmp_path: Path) -> None:
    script = f"import sys; from launcher.cli import main; main({words!r}, __import__('pathlib').Path({str(ROOT)!r}))\n"
    script += f"assert not set({HEAVY!r}) & set(sys.modules), sorted(set({HEAVY!r}) & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [["--help"], ["model.n_layr=3"], ["model=gptt"]])
def test_help_and_config_errors_answer_within_a_second(words: list[str], tmp_path: Path) -> None:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run(*words, cwd=tmp_path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    # seconds of work, which is what a quiet machine takes, whatever else this one is doing
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 1.0


def test_help(tmp_path: Path) -> None:
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "Five commands to start with" in done.stdout
    assert "Options: bpe, bpe_small, byte" in run("tokenizer=bite", cwd=tmp_path).stderr


def test_a_wrong_request(tmp_path: Path) -> None:
    done = run("model.n_layr=3", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[0] == "model.n_layr=3: there is no key model.n_layr."
    assert done.stderr.splitlines()[-2:] == ["Did you mean model.n_layer?", "Type: model.n_layer=3"]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("word", ["--halp", "--cfg=jobs", "--config-dir=nowhere", "-x"])
def test_wrong_flags(word: str, tmp_path: Path) -> None:
    done = run(word, cwd=tmp_path)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_cfg_prints_what_would_run(tmp_path: Path) -> None:
    text = run("model.n_layer=7", "--cfg", "job", cwd=tmp_path).stdout
    assert "  n_layer: 7\n" in text
    assert "seq_len: ${model.seq_len}" in text
    assert "seq_len: 128" in run("--cfg", "job", "--resolve", "--package", "data", cwd=tmp_path).stdout
    assert run("--cfg", "hydra", cwd=tmp_path).stdout.startswith("hydra:")
    assert not list(tmp_path.iterdir())


def test_hydras_own_flags(tmp_path: Path) -> None:
    assert "Hydra" in run("--hydra-help", cwd=tmp_path).stdout
    assert run("--info", "defaults", cwd=tmp_path).returncode == 0


def test_a_folder_of_ones_own_configs(tmp_path: Path) -> None:
    (tmp_path / "mine/model").mkdir(parents=True)
    text = (ROOT / "conf/model/gpt.yaml").read_text().replace("n_layer: 4", "n_layer: 9")
    (tmp_path / "mine/model/deep.yaml").write_text(text)
    assert "n_layer: 9" in run("--config-dir", "mine", "model=deep", "--cfg", "job", cwd=tmp_path).stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of four updates of the default recipe, with a smaller model."""
    cwd = tmp_path_factory.mktemp("trained")
    done = run(*SMALL, "run_dir=first", "hardware=cpu", cwd=cwd)
    assert done.returncode == 0, done.stderr
    return cwd


def test_a_run_leaves_what_the_contract_promises(trained: Path) -> None:
    folder = trained / "first"
    for name in (".hydra/config.yaml", "summary.json", "metrics.csv", "tensorboard", "tokenizer", "run.log"):
        assert (folder / name).exists(), name
    assert {"last.ckpt", "best.ckpt"} <= {file.name for file in (folder / "checkpoints").iterdir()}
    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["status"], summary["step"]) == ("finished", 4)
    assert {"val/loss", "val/bpb", "val/perplexity", "train/loss"} <= summary["metrics"].keys()
    assert {"total", "trainable", "active"} <= summary["parameters"].keys()
    assert all(summary[key] for key in ("tokens_seen", "tokens_per_second", "peak_memory_bytes", "data_fingerprint"))


@pytest.mark.slow
def test_what_a_run_offers_to_type_next_works(trained: Path) -> None:
    assert "The" in run("task=generate", "init_from=first", "prompt=The ", "max_new_tokens=2", cwd=trained).stdout
    assert run("first", cwd=trained).returncode == 2
    assert run("run_dir=first", cwd=trained).returncode == 2
    done = run("resume=first", "trainer.max_steps=6", cwd=trained)
    assert done.returncode == 0, done.stderr
    assert json.loads((trained / "first/summary.json").read_text())["step"] == 6


@pytest.mark.slow
def test_N7_the_third_job_of_a_sweep_equals_the_first(trained: Path) -> None:
    done = run("-m", "seed=1,2,1", "hardware=cpu", "run_dir=same", *SMALL, cwd=trained)
    assert done.returncode == 0, done.stderr
    first, _, third = (json.loads(file.read_text()) for file in sorted((trained / "same").glob("*/summary.json")))
    assert third["metrics"]["val/loss"] == first["metrics"]["val/loss"]
    assert third["peak_memory_bytes"] < 1.1 * first["peak_memory_bytes"]


@pytest.mark.slow
def test_N1_a_sweep_over_two_processes_each(trained: Path) -> None:
    done = run("-m", "seed=1,2", "hardware=ddp_cpu", "run_dir=sweep", *SMALL, cwd=trained)
    assert done.returncode == 0, done.stderr
    folders = sorted(path.name for path in (trained / "sweep").iterdir() if path.is_dir())
    assert folders == ["0-seed_1", "1-seed_2"]
    for name in folders:
        rows = (trained / "sweep" / name / "metrics.csv").read_text().splitlines()
        steps = [row.split(",")[0] for row in rows[1:]]
        assert steps == sorted(set(steps), key=int), "each step once"
        assert json.loads((trained / "sweep" / name / "summary.json").read_text())["step"] == 4
