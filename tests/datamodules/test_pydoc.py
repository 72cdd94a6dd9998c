"""The embedded corpus: there, the same each time, fast, and without the same section twice."""

import time

import pytest

from datamodules.pydoc import PydocDataModule, PydocSource, docstrings, own_topics
from tokenization.byte import ByteTokenizer


def prepared(tmp_path) -> PydocDataModule:
    data = PydocDataModule(tokenizer=ByteTokenizer(), cache_dir=str(tmp_path), seq_len=64, batch_size=4)
    data.prepare()
    return data


def test_it_is_large_enough_and_little_of_validation_is_in_training(tmp_path):
    about = prepared(tmp_path).describe()
    assert about["train"]["bytes"] > 500_000
    assert 20_000 < about["val"]["bytes"] < about["train"]["bytes"] / 3
    assert about["overlap"]["val_line_share"] < 0.1


def test_it_is_the_same_each_time_and_prepared_in_time(tmp_path):
    assert PydocSource().fingerprint() == PydocSource().fingerprint()
    start = time.process_time()
    first = prepared(tmp_path / "a")
    assert time.process_time() - start < 1.5  # 0.1 s on an idle core
    assert prepared(tmp_path / "b").fingerprint == first.fingerprint


def test_a_topic_within_a_longer_one_is_left_out():
    topics = {"while": "A\n\nB\n\nC\n\nwhile", "compound": "if\n\nA\n\nB\n\nC\n\nelse", "pass": "p"}
    assert own_topics(topics) == [topics["compound"] + "\n", "p\n"]


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ('#!/bin/python\n"""Module.\n\nMore."""\nx = 1\n', "Module.\n\nMore.\n"),
        ('import x\n"""no docstring"""\n', "\n"),
        (
            'def f(x):\n    r"""About f.\n\n        code\n    End.\n    """\n    y = """data"""\n',
            "About f.\n\n    code\nEnd.\n",
        ),
        ('class A:\n    """One."""\n    def g(self):\n        """Two."""\n', "One.\n\nTwo.\n"),
    ],
)
def test_docstrings(source, found):
    assert docstrings(source) == found
