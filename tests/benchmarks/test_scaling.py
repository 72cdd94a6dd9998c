"""What benchmarks.scaling names, and that its points and its figure come out at the smallest sizes."""

import json
import subprocess
import sys

import pytest

from benchmarks import _scaling_figure, scaling
from benchmarks.scaling import Point


def point(size, seconds, memory, arithmetic=1.0, held=(1.0,)):
    return Point("width", size, seconds, memory, arithmetic, held)


def test_what_grows_as_expected_is_not_named():
    # 4 times the arithmetic in 4 times the seconds; memory as the parameters, which grow more than activations do
    assert scaling.named([point(64, 1.0, 10.0, 2.0, (1.0, 1.0)), point(128, 4.0, 38.0, 8.0, (4.0, 2.0))]) == []


def test_what_grows_faster_is_named_with_both_figures():
    time, memory = scaling.named([point(64, 1.0, 10.0, 2.0), point(1024, 3.0, 20.0, 4.0)])
    assert time == "width 64 -> 1,024: seconds x 3.00, expected x 2.00"
    assert memory == "width 64 -> 1,024: memory x 2.00, expected x 1.00"


def test_ratios_of_an_axis_are_to_its_own_first_point_and_each_row_is_told_as_it_is_measured(monkeypatch, capsys):
    seen = []

    def measured(axis):
        for size in (1, 2):
            seen.append(capsys.readouterr().out)
            yield Point(axis, size, float(size), size * 1e6, 1.0, (1.0,))

    monkeypatch.setattr(scaling, "of_a_model", measured)
    monkeypatch.setattr(scaling, "of_runs", lambda: iter([Point("ranks", 1, 10.0, 5e6, 1.0, (1.0,))]))
    scaling.main([])
    assert seen[1].split() == ["width", "1", "1000.0", "1", "1.00", "1.00", "1.00"]
    assert seen[2].split() == ["2", "2000.0", "2", "2.00", "1.00", "2.00"]
    last = capsys.readouterr().out
    assert last.splitlines()[1].split() == ["ranks", "1", "10000.0", "5", "1.00", "1.00", "1.00"]
    assert "width 1 -> 2: seconds x 2.00, expected x 1.00" in last


def test_the_figure_has_a_column_for_each_axis(tmp_path):
    by_axis = {
        "width": [point(64, 1.0, 1e6), point(128, 2.0, 3e6)],
        "workers": [point(0, 1.0, 1e6), point(1, 1.0, 2e6)],
    }
    _scaling_figure.draw(by_axis, tmp_path / "figure.png")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.slow
def test_memory_is_that_of_a_process_and_its_children():
    held = "bytearray(200_000_000)"  # written to: it is zeroed
    script = f"import subprocess, sys, time; x = bytes({held}); subprocess.run([sys.executable, '-c', "
    script += f"'import time; x = bytes({held}); time.sleep(1)']); print('done')"
    printed, most = scaling.watched([sys.executable, "-c", script])
    assert printed == "done\n"
    assert 390e6 < most < 900e6


@pytest.mark.slow
def test_a_point_says_its_arithmetic():
    small = {"n_layer": 1, "n_embd": 32, "seq_len": 32, "vocab_size": 16, "experts": 0}
    command = [sys.executable, "-m", "benchmarks._scaling_point", json.dumps(small)]
    found = json.loads(subprocess.run(command, cwd=scaling.ROOT, capture_output=True, text=True, check=True).stdout)
    # embedding and head 16 x 32 each; q, k, v, proj 32 x 32; gate, up, down 32 x 96; three norms of 32
    assert found["parameters"] == 2 * 16 * 32 + 4 * 32 * 32 + 3 * 32 * 96 + 3 * 32
    assert found["activations"] == 2048 * 32
    assert found["seconds"] > 0


def test_noise_does_not_look_like_a_slope():
    low, high = _scaling_figure._limits([182.2, 187.2])
    assert low < 182.2 / 2
    assert high > 187.2 * 2
    assert _scaling_figure._limits([1.0, 100.0]) == pytest.approx((1 / 1.1, 110.0))
