"""CONTRIBUTING's way to a data set of one's own, followed literally."""

import importlib.util
import re
from pathlib import Path

import pytest

from datamodules.reading.sources import TextSource
from errors import RequestError
from tokenization.byte import ByteTokenizer

WORDS = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_its_class_gives_the_tokens_that_it_says(tmp_path):
    (code,) = re.findall(r"```python\n(.*?)```", WORDS, re.DOTALL)
    (tmp_path / "tales.py").write_text(code)
    spec = importlib.util.spec_from_file_location("tales", tmp_path / "tales.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    data = module.TalesDataModule(
        most=50, seq_len=16, batch_size=12, cache_dir=str(tmp_path / "cache"), tokenizer=ByteTokenizer()
    )
    data.prepare()
    text = "".join(data.tokenizer.decode(ids) for side in ("train", "val") for ids in getattr(data.folder, side).scan())
    assert text.count("a fox met a hen.") == 50
    assert next(iter(data.train_dataloader()))[0]["ids"].shape == (12, 16)


def test_a_function_gives_texts_anew_and_the_fingerprint_is_of_the_content():
    source = TextSource("mine", lambda: (text for text in ("a", "bc")))
    assert [list(document) for document in source.documents()] == [["a"], ["bc"]]
    assert source.fingerprint() == TextSource("mine", ["a", "bc"]).fingerprint()
    assert source.fingerprint() != TextSource("mine", ["ab", "c"]).fingerprint()


@pytest.mark.parametrize("texts", ["one text", iter(["a"])])
def test_what_can_be_walked_once_only_is_refused(texts):
    with pytest.raises(RequestError, match="expected a list of str or a function"):
        TextSource("mine", texts)
