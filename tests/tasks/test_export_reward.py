"""task=export of runs that are more than a language model: reward models as classifiers, adapters merged."""

from pathlib import Path

import pytest
import torch

from launcher.cli import main
from launcher.config.inherit import read_run
from models.adapters.lora import load_adapter
from models.heads import RewardModel, score
from models.hf import HFModel, save_wrapped
from models.weights.files import read_tensors
from models.weights.loading import load_weights
from tasks import parts
from tests.hf_tiny import llama
from tests.tasks.test_pair_runs import PAIRS, ROOT, SHORT
from tests.tasks.test_pair_runs import folder as folder

SIZES = ["model.n_layer=2", "model.n_embd=16", "model.n_head=2", "model.seq_len=128", "tokenizer=byte"]
MODELS = {
    "gpt2": ["model=gpt2"],
    "llama": ["model=llama", "model.n_kv_head=1", "model.n_inner=24"],
    "qwen3_moe": ["model=moe", "model.n_kv_head=1", "model.qk_norm=head", "model.moe.n_experts=4", "model.moe.ff=8"],
}


def lab(*words: str) -> int:
    return main(list(words), root=ROOT)


def texts(pad: int, ends: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two texts of unlike length, padded on the right: ids and where they are real."""
    ids_BT = torch.randint(60, 90, (2, 12), generator=torch.Generator().manual_seed(1))
    ids_BT[0, 6:] = pad
    ids_BT[0, 5] = ids_BT[1, 11] = ends
    return ids_BT, torch.tensor([[True] * 6 + [False] * 6, [True] * 12])


@pytest.mark.parametrize("kind", MODELS)
def test_a_reward_run_loads_as_a_sequence_classifier_with_equal_scores(kind, capsys):
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    words = ["objective=reward", "objective.sft_steps=0", *MODELS[kind], *SIZES, *SHORT, *PAIRS, "run_dir=run"]
    assert lab(*words) == 0
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    assert "AutoModelForSequenceClassification" in capsys.readouterr().out
    theirs = AutoModelForSequenceClassification.from_pretrained("out").eval()
    assert (theirs.config.model_type, theirs.config.num_labels) == (kind, 1)
    cfg = read_run("run")[0]
    ours = parts.build_model(cfg, vocab_size=theirs.config.vocab_size).eval()
    load_weights(ours, "run")
    tokenizer = AutoTokenizer.from_pretrained("out")
    end = tokenizer.convert_tokens_to_ids("<|assistant_end|>")
    ids_BT, real_BT = texts(theirs.config.pad_token_id, end)
    with torch.no_grad():
        expected_B = score(ours, ids_BT, real_BT)[0]
        found_B = theirs(ids_BT, attention_mask=real_BT.long()).logits.squeeze(-1)
    assert expected_B[0] != expected_B[1]
    torch.testing.assert_close(found_B, expected_B, atol=1e-5, rtol=0)


def test_a_reward_model_on_a_model_of_transformers_is_saved_as_its_classifier(tmp_path):
    from transformers import AutoModelForSequenceClassification

    llama(vocab_size=100).save_pretrained(tmp_path / "hf")
    model = RewardModel(HFModel(vocab_size=100, path=str(tmp_path / "hf"), seq_len=64)).eval()
    assert save_wrapped(model, tmp_path / "out", special_ids={"pad_token_id": 0}) == "llama"
    theirs = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out").eval()
    ids_BT, real_BT = texts(0, 2)
    with torch.no_grad():
        found_B = theirs(ids_BT, attention_mask=real_BT.long()).logits.squeeze(-1)
        torch.testing.assert_close(found_B, score(model, ids_BT, real_BT)[0], atol=1e-5, rtol=0)


def test_a_family_without_a_classifier_is_refused(capsys):
    kind = [*MODELS["qwen3_moe"], "model.qk_norm=full"]
    words = ["objective=reward", "objective.sft_steps=0", *kind, *SIZES, *SHORT, *PAIRS, "run_dir=run"]
    assert lab(*words) == 0
    assert lab("task=export", "init_from=run", "export.path=out", "hardware=cpu", "run_dir=exported") == 2
    assert "no sequence classifier of the family olmoe" in capsys.readouterr().err


def test_adapters_are_merged_on_export_and_merged_equals_unmerged(capsys):
    from transformers import AutoModelForCausalLM

    small = [*MODELS["llama"], *SIZES, *SHORT, "data.batch_size=2", "data.val_examples=4"]
    assert lab("objective=sft", *small, "run_dir=base") == 0
    words = ["objective=sft", "init_from=base", *SHORT, "data.batch_size=2", "data.val_examples=4", "data.seq_len=128"]
    assert lab(*words, "adapter=lora", "adapter.rank=2", "optimizer.lr=0.1", "run_dir=tuned") == 0
    assert lab("task=export", "init_from=tuned", "export.path=out", "hardware=cpu", "run_dir=exported") == 0
    theirs = AutoModelForCausalLM.from_pretrained("out").eval()
    cfg = read_run("tuned")[0]
    base = parts.language_model(cfg, vocab_size=theirs.config.vocab_size).eval()
    load_weights(base, "base")
    ids_BT = torch.arange(30, 50)[None]
    with torch.no_grad():
        before = base(ids_BT, logits="all").logits
        unmerged = load_adapter(base, Path("tuned/adapter"))(ids_BT, logits="all").logits
        merged = theirs(ids_BT).logits
    assert (unmerged - before).abs().max() > 1e-2
    torch.testing.assert_close(merged, unmerged, atol=1e-5, rtol=1e-5)
    assert not any("lora" in name for name in read_tensors("out"))
