"""N4: folders never collide, break, or get written into twice."""

import os
import subprocess
import sys
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from errors import RequestError
from launcher.jobs.run_folder import claim, default_name, job_name, make_unique, slug, write_atomically

ROOT = Path(__file__).parents[3]
CLAIM = """
import sys
from pathlib import Path
from launcher.jobs.run_folder import claim
print(claim(None, default=Path(sys.argv[1])).path)
"""


def test_N4_eight_processes_get_eight_folders(tmp_path: Path) -> None:
    words = [sys.executable, "-c", CLAIM, str(tmp_path / "outputs/day/time-gpt-lm")]
    started = [subprocess.Popen(words, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(8)]
    paths = {process.communicate()[0].strip() for process in started}
    assert len(paths) == 8
    assert all(Path(path).is_dir() for path in paths)


@pytest.mark.parametrize(
    "text", ["a/b", "model=gpt,seed=1", "x={a:[1,2]}", "../..", "", ".hidden", "ü" * 5, "a" * 300, "a b\nc", "-m"]
)
def test_N4_any_override_becomes_a_name(text: str) -> None:
    for name in (slug(text), job_name(3, text)):
        assert 1 <= len(name) <= 80
        assert set(name) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
        assert name[0] not in ".-"


def test_default_name() -> None:
    now = datetime(2025, 1, 2, 3, 4, 5)
    assert default_name("gpt", "causal_lm", now) == Path("outputs/2025-01-02/03-04-05-gpt-causal_lm")
    assert default_name("gpt", "sft", now, task="evaluate") == Path("outputs/2025-01-02/03-04-05-evaluate-gpt-sft")


def test_N4_a_used_folder_is_refused(tmp_path: Path) -> None:
    first = claim(tmp_path / "run", default=tmp_path)
    (first.path / "summary.json").write_text("{}")
    first.release()
    with pytest.raises(RequestError, match=r"has been used by a run: it holds summary.json.\nTo go on .* type resume="):
        claim(tmp_path / "run", default=tmp_path)
    again = claim(tmp_path / "run", default=tmp_path, resume=True)
    again.release()


def test_N4_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    first = claim(tmp_path / "run", default=tmp_path)
    with pytest.raises(RequestError, match="is in use by a run"):
        claim(tmp_path / "run", default=tmp_path, resume=True)
    first.release()
    claim(tmp_path / "run", default=tmp_path).release()


def test_the_lock_does_not_outlive_its_process_in_a_forked_worker(tmp_path: Path) -> None:
    first = claim(tmp_path / "run", default=tmp_path)
    (end, to_child), (started, from_child) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:  # as a data loader's worker, which a kill -9 of its parent leaves behind for some seconds
        os.write(from_child, b"x")
        os.close(to_child)
        os.read(end, 1)
        os._exit(0)
    os.read(started, 1)
    first.release()  # the system does this when the process is killed
    try:
        claim(tmp_path / "run", default=tmp_path).release()
    finally:
        os.close(to_child)
        os.waitpid(child, 0)


def test_F17_a_folder_with_anything_in_it_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "tokenizer").mkdir()
    (tmp_path / "tokenizer/tokenizer.json").write_text("mine")
    (tmp_path / "metrics.csv").write_text("mine")
    with pytest.raises(RequestError, match=r"holds metrics.csv, tokenizer/tokenizer.json: not written by"):
        claim(tmp_path, default=tmp_path)
    assert (tmp_path / "metrics.csv").read_text() == "mine"


def test_F17_what_a_run_left_that_was_killed_as_it_began_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / ".hydra").mkdir()
    claim(tmp_path, default=tmp_path).release()
    (tmp_path / ".hydra/.config.yaml.123").write_text("half")
    claim(tmp_path, default=tmp_path).release()


def test_F17_discarding_leaves_what_is_not_ours(tmp_path: Path) -> None:
    run = claim(tmp_path / "run", default=tmp_path)
    for name in ("run.log", "thesis.txt"):
        (run.path / name).touch()
    run.release()
    run.discard()
    assert os.listdir(run.path) == ["thesis.txt"]


def test_an_empty_folder_may_be_named(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    claim(tmp_path / "empty", default=tmp_path).release()


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RequestError, match="is a file"):
        claim(tmp_path / "file", default=tmp_path)
    with pytest.raises(RequestError, match="a part of the path is a file"):
        make_unique(tmp_path / "file" / "run")


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs Linux's /proc")
def test_a_read_only_place_says_so() -> None:
    with pytest.raises(RequestError, match=r"cannot be written.*\nType run_dir=PATH"):
        claim(Path("/proc/nanolab"), default=Path("x"))


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "summary.json"
    write_atomically(file, "old")
    monkeypatch.setattr(os, "fsync", _disk_full)
    with pytest.raises(OSError, match="No space"):
        write_atomically(file, "new")
    assert file.read_text() == "old"
    assert os.listdir(tmp_path) == ["summary.json"], "no half file is left behind"


def _disk_full(_: int) -> None:
    raise OSError(28, "No space left on device")


def test_N4_paths_with_equals_signs_and_spaces(
    run: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    folder = tmp_path / "lr=0.1 and more"
    assert run(f"run_dir={folder}").returncode == 0
    assert run(f"run_dir={folder}", "hardware=ddp_cpu").returncode == 2
    assert run(f"resume={folder}", "trainer.max_steps=20").returncode == 0
    assert (folder / "ran0.txt").read_text().count("\n") == 2
