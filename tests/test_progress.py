"""F45: what takes long says how far it has come, with the time left where the end is known."""

import pytest

import progress
from progress import Tracker, shown


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """A clock that goes on by a second each time it is read."""
    times = iter(range(1000))
    monkeypatch.setattr(progress.time, "monotonic", lambda: float(next(times)))


def test_F45_lines_come_after_three_seconds_and_then_every_ten(capsys):
    assert list(shown(range(20), "evaluating", unit="batches")) == list(range(20))
    lines = capsys.readouterr().err.splitlines()
    assert lines == ["evaluating: 3/20 batches  0:17 left", "evaluating: 13/20 batches  0:07 left"]


def test_F45_what_is_soon_done_says_nothing(capsys):
    assert list(shown([1, 2], "evaluating", unit="batches")) == [1, 2]
    assert capsys.readouterr().err == ""


def test_F45_without_a_known_end_it_counts(capsys):
    list(shown(iter(range(5)), "rendering", unit="pairs"))
    assert capsys.readouterr().err == "rendering: 3 pairs\n"


def test_F45_other_ranks_are_quiet(monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    tracker = Tracker("writing", 50, unit="tokens")
    for i in range(50):
        tracker.at(i)
    tracker.close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("terminal", [False, True])
def test_F45_in_a_terminal_it_is_a_bar(monkeypatch, capsys, terminal):
    monkeypatch.setattr(progress.sys.stderr, "isatty", lambda: terminal, raising=False)
    tracker = Tracker("writing", 50, unit="tokens")
    assert (tracker._bar is not None) is terminal
    tracker.at(50)
    assert tracker._bar is None or tracker._bar.n == 50
    tracker.close()
