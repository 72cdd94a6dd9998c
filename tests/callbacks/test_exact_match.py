"""Exact match in the loop where there is nothing to ask."""

from types import SimpleNamespace

from callbacks.exact_match import ExactMatch
from tasks.evaluate import answers_right
from tests.small import RandomTokens, make_module, make_trainer

NOTHING = SimpleNamespace(questions=lambda limit: [])


def test_without_questions_it_is_left_out_with_one_line(tmp_path, capsys):
    """All prompts may be longer than the context: once max() of nothing, then a division by zero."""
    callback = ExactMatch(data=NOTHING, tokenizer=None, questions=8, shown=2, max_new_tokens=None, batch_size=4)
    module = make_module()
    make_trainer(tmp_path, max_steps=2, callbacks=[callback]).fit(module, RandomTokens())
    assert "val/exact_match is left out" in capsys.readouterr().out
    assert "val/exact_match" not in module.measured.val
    assert not (tmp_path / "answers.json").exists()


def test_evaluation_without_questions_measures_the_rest():
    assert len(answers_right(None, NOTHING, limit=8, batch_size=4)) == 0
