"""What a folder of transformers brings beside its weights."""

import json
from pathlib import Path

import pytest
from transformers import GPT2Config

from models.weights import foreign


@pytest.mark.parametrize(
    ("files", "brought"),
    [
        (["tokenizer.json"], True),
        (["vocab.json", "merges.txt"], True),  # GPT-2 as it was published
        (["tokenizer.model"], True),  # Llama's and Mistral's
        (["vocab.json"], False),
        ([], False),
    ],
)
def test_its_tokenizer_is_taken_in_new_and_older_forms(files: list[str], brought: bool, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(GPT2Config(n_layer=1).to_dict()), encoding="utf-8")
    for name in files:
        (tmp_path / name).write_text("{}", encoding="utf-8")
    found = foreign.sections(str(tmp_path))
    assert ("tokenizer" in found) is brought
    if brought:
        assert found["tokenizer"] == {"_target_": "tokenization.hf.HFTokenizer", "name": str(tmp_path)}
