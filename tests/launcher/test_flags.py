"""F18, F23: flags whose value is empty, unknown, or says nothing without another flag are refused, not passed over."""

from pathlib import Path

import pytest

from launcher.cli import main


def test_F29_without_memory_it_says_so(
    toy_root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before a run has a log for it, a traceback is of no use to anybody."""

    def ask(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("launcher.cli._dispatch", ask)
    assert main([], toy_root) == 1
    said = capsys.readouterr().err
    assert said.startswith("out of memory: ")
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--info", ""], "--info '' is empty"),
        (["--config-dir", ""], "--config-dir '' is empty"),
        (["--cfg", "job", "--package", " "], "--package ' ' is empty"),
        (["--package", "model"], "--package says how --cfg shows the config"),
        (["--resolve"], "--resolve says how --cfg shows the config"),
        (["--cfg", "job", "--package", "["], "no such section"),
        (["--cfg", "job", "--package", "modle"], "Did you mean model?"),
        (["--shell-completion", "install=tcsh"], "install=bash"),
        (["--shell-completion", "x"], "install=bash"),
        (["--hydra-help", "mo#del=x"], "--hydra-help tells of Hydra alone"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_a_flag_cannot_mean_is_refused(
    words: list[str], says: str, toy_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert main(words, toy_root) == 2
    said = capsys.readouterr().err
    assert says in said
    assert "Traceback" not in said
    assert not list(tmp_path.iterdir()), "no run was started"


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (
            ["model.width=3", "model.width=4"],
            "model.width=3 changes nothing: model.width=4 comes later, and is taken.\n",
        ),
        (["model=large", "model=small"], "model=large changes nothing: model=small comes later, and is taken.\n"),
        (["++seed=3", "seed=4"], "++seed=3 changes nothing: seed=4 comes later, and is taken.\n"),
        (["seed=3", "++seed=3"], ""),
        (["seed=3", "model.width=4"], ""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_word_that_a_later_one_overrules_is_named(
    words: list[str], named: str, toy_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--cfg", "job"], toy_root) == 0
    assert capsys.readouterr().err == named
