"""F26: a run folder of garbage, of any kind, is listed and passed over; it never spoils the report about the others."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from errors import RequestError
from reports.collect import find_runs, not_started, passed_over
from reports.comparison import compare

DEEP = 100_000
SUMMARIES = (
    *(
        b"",
        b"{",
        b"[]",
        b"3",
        b"null",
        b"\xff\xfe",
        b"[" * DEEP,
        b'{"a":' * DEEP,
        b'{"metrics": []}',
        b'{"metrics": 3}',
    ),
    *(b'{"status": {}}', b'{"overrides": 3}', b'{"overrides": [{}, 3]}', b'{"seed": "x"}', b'{"step": []}', b'"text"'),
    *(b'{"metrics": {"val/loss": {}}}', b'{"parameters": [1]}', b'{"command": 3}', b'{"wall_seconds": "x"}'),
)
YAMLS = (
    b"",
    b"[1]",
    b"a: &a [x, x]\nb: *a",
    b"{",
    b"\xff",
    b"3",
    b"- " * 3000,
    b"a: 2026-13-45",
    b"\x00",
    b"!!python/x y",
)
HYDRAS = (b"hydra: 3", b"hydra: {runtime: 3}", b"hydra: {runtime: {choices: [1]}}", b"hydra: {runtime: {choices: 3}}")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("summary.json", content) for content in SUMMARIES),
        *((f".hydra/{name}.yaml", content) for name in ("config", "hydra", "overrides") for content in YAMLS),
        *((".hydra/hydra.yaml", content) for content in HYDRAS),
        *(
            ("metrics.csv", content)
            for content in (b"", b"\xff\x00", b"step,val/loss\n1,2,3,4\n", b"step\n" + b"9" * 200_000)
        ),
        *((name, None) for name in ("summary.json", ".hydra/config.yaml", ".hydra/hydra.yaml", "metrics.csv")),
    ],
    ids=lambda value: str(value)[:30],
)
def test_F26_garbage_is_passed_over(
    name: str, content: bytes | None, write_run: Callable[..., Path], tmp_path: Path
) -> None:
    for i, lr in enumerate((0.1, 0.2)):
        write_run(f"{i}-x", {"optimizer.lr": lr, "seed": 0}, {"val/loss": 1.0 + i})
    bad = write_run("2-bad", {"optimizer.lr": 0.3, "seed": 0}, {"val/loss": 9.0})
    (bad / name).unlink(missing_ok=True)
    if content is None:
        os.mkfifo(bad / name)  # opening it would wait for ever
    else:
        (bad / name).write_bytes(content)
    sweep = str(tmp_path / "sweep")
    runs = find_runs(sweep)
    found = {run.path.name for run in runs}
    assert {"0-x", "1-x"} <= found
    assert ("2-bad" in found) or any("2-bad is damaged" in line for line in passed_over(sweep))
    compare(runs, metric=None, baseline=None)
    for run in runs:
        run.curve("val/loss")


@pytest.mark.parametrize("content", [b"[]", b"{", b"[" * DEEP, b'{"jobs": "x"}'])
def test_F26_a_damaged_record_of_a_sweep_is_told(
    content: bytes, write_run: Callable[..., Path], tmp_path: Path
) -> None:
    write_run("0-x", {"seed": 0}, {"val/loss": 1.0})
    (tmp_path / "sweep/sweep.json").write_bytes(content)
    lines = not_started(str(tmp_path / "sweep"))
    assert lines == [] or "cannot be read" in lines[0]


def test_the_only_job_of_a_sweep_over_one_value_has_begun(write_run: Callable[..., Path], tmp_path: Path) -> None:
    write_run("0", {"seed": 0}, {"val/loss": 1.0})
    (tmp_path / "sweep/sweep.json").write_text('{"jobs": 1}')
    assert not_started(str(tmp_path / "sweep")) == []


def test_F26_where_nothing_can_be_read_the_reason_is_said(write_run: Callable[..., Path]) -> None:
    bad = write_run("0-x", {"seed": 0}, {"val/loss": 1.0})
    (bad / "summary.json").write_bytes(b"[" * DEEP)
    with pytest.raises(RequestError, match=r"no run in it can be read.\n0-x is damaged"):
        find_runs(str(bad))
