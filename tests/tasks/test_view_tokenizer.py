"""The view of a tokenizer's merges: on the screen and on a page."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from errors import RequestError
from launcher.config.compose import compose
from launcher.lab import Lab
from tasks.views.tokenizer import as_html, show
from tests.hostile import HOSTILE, assert_stays_text

LAB = Lab(Path(__file__).parents[2])


def run_view(folder: Path, *words: str) -> SimpleNamespace:
    run = SimpleNamespace(path=folder, results={})
    text = folder / "text.txt"
    text.write_text("the <b>other</b> theme\n\n" * 200)
    words = (*words, "data=text", f"data.path={text}", f"data.cache_dir={folder / 'cache'}", "model.seq_len=8")
    show(compose(list(words), LAB).cfg, run)
    return run


def test_first_merges_with_counts_and_words(tmp_path, capsys) -> None:
    run = run_view(tmp_path, "tokenizer=bpe", "tokenizer.vocab_size=264")
    first = capsys.readouterr().out.splitlines()[:2]
    assert first[0].split() == ["merge", "id", "token", "times", "first", "words"]
    assert first[1].split()[:4] == ["1", "256", '"he"', "540"]  # three words, 180 lines train
    assert "7 merges of tokenizer=bpe" in (tmp_path / "merges.html").read_text()
    assert run.results["tokenizer_fingerprint"]


def test_a_tokenizer_without_merges_says_so(tmp_path) -> None:
    with pytest.raises(RequestError, match="tokenizer=byte has no merges"):
        run_view(tmp_path, "tokenizer=byte")


def test_text_cannot_write_into_the_page() -> None:
    assert_stays_text(as_html(HOSTILE, [[HOSTILE] * 5, [HOSTILE] * 5]), times=12)
