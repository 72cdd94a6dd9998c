"""The verifier: its loss by hand, a frozen model to the byte, padding, updates in parts, resume."""

import copy
import json
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import tensor

from batch import IGNORE
from datamodules.judged import JudgedDataModule, question_hash
from errors import RequestError
from lightning_modules.verifier import VerifierModule, answer_tokens, last_only, right_rows, verifier_loss
from models.gpt import GPT
from models.heads import FEATURE_SCALE, RewardModel, Verifier, at_end, features_of, judge
from tests.pairs import adam, train
from tokenization.byte import ByteTokenizer


def rows(n: int, first: int = 0) -> list[dict]:
    """Questions with a right and some wrong answers; the right one says what it was asked."""
    made = []
    for i in range(first, first + n):
        texts = [f"{i}!", f"{i + 1}!", f"{(7 * i) % 10}?"]
        made.append({"question": f"say {i}", "texts": texts, "labels": [True, False, False], "source": f"say {i}"})
    return made


def data(folder: Path, *, n: int = 40, **settings) -> JudgedDataModule:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "predictions.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows(n)))
    shared = {"seq_len": 48, "batch_size": 8, "val_fraction": 0.4, "seed": 1} | settings
    found = JudgedDataModule(path=str(folder), tokenizer=ByteTokenizer(), **shared)
    found.prepare()
    return found


def module(given: JudgedDataModule, *, seed: int = 0, lr: float = 1e-2, **settings) -> VerifierModule:
    torch.manual_seed(seed)
    model = GPT(vocab_size=given.tokenizer.vocab_size, seq_len=48, n_layer=2, n_head=2, n_embd=16)
    made = VerifierModule(
        model=Verifier(model), data=given, optimizer=partial(adam, lr=lr), seed=1, log_every=1, **settings
    )
    made.learn_start(None)  # type: ignore[arg-type] # nothing is learned first
    return made


def test_loss_worked_by_hand() -> None:
    """Logits 0 and log 3 of a right answer, 0 of a wrong one, whose second token is none of the answer."""
    logits = tensor([[0.0, torch.log(tensor(3.0))], [0.0, 9.0]])
    counted = tensor([[True, True], [True, False]])
    found = verifier_loss(logits, tensor([True, False]), counted)
    expected = [(torch.log(tensor(2.0)) + torch.log(tensor(4 / 3))) / 2, torch.log(tensor(2.0))]
    torch.testing.assert_close(found, torch.stack(expected))


def test_which_tokens_are_judged() -> None:
    targets = tensor([[IGNORE, 5, 6, IGNORE, IGNORE]])  # the answer is 5 6, read at places 2 and 3
    assert answer_tokens(targets).tolist() == [[False, False, True, True, False]]
    assert last_only(answer_tokens(targets)).tolist() == [[False, False, False, True, False]]
    micro = {"targets": targets.repeat(2, 1), "labels": tensor([True, False])}
    assert (right_rows(micro)["targets"][1] == IGNORE).all()


def test_features_worked_by_hand() -> None:
    logprobs, answer = tensor([[-9.0, -1.0, -3.0, -2.0]]), tensor([[False, True, True, True]])
    expected = FEATURE_SCALE * tensor([[[0.0, 0.0], [-1.0, -1.0], [-3.0, -2.0], [-3.0, -2.0]]])
    torch.testing.assert_close(features_of(logprobs, answer), expected)


def tiny() -> Verifier:
    torch.manual_seed(3)
    model = Verifier(GPT(vocab_size=32, seq_len=24, n_layer=2, n_head=2, n_embd=16).double()).double()
    torch.nn.init.normal_(model.score_head.weight)
    return model.eval()


def test_S19_padding_on_either_side_changes_nothing() -> None:
    model, ids = tiny(), torch.arange(1, 9)[None]
    answer = ids > 4

    def probability(left: int, right: int) -> float:
        pad = (left, right)
        padded = [torch.nn.functional.pad(x, pad) for x in (ids, torch.ones_like(ids, dtype=torch.bool), answer)]
        return at_end(judge(model, *padded)[0], padded[1]).item()

    alone = probability(0, 0)
    assert [probability(*pad) for pad in ((3, 0), (0, 5), (2, 4))] == pytest.approx([alone] * 3, abs=1e-5)
    features_off = at_end(judge(model, ids, ids > 0, answer, features=False)[0], ids > 0).item()
    assert features_off != pytest.approx(alone, abs=1e-3)


def test_before_it_learns_it_ranks_by_the_least_likely_token() -> None:
    torch.manual_seed(3)
    model = Verifier(GPT(vocab_size=32, seq_len=24, n_layer=1, n_head=2, n_embd=16)).eval()
    ids = torch.randint(1, 32, (4, 10))
    answer = torch.arange(10).expand(4, 10) >= 6
    logits, nats, _ = judge(model, ids, torch.ones_like(answer), answer)
    expected = torch.log_softmax(model.backbone(ids, logits="all").logits, -1)[:, 5:9].gather(2, ids[:, 6:, None])
    torch.testing.assert_close(logits[:, -1], expected.squeeze(2).amin(1))
    torch.testing.assert_close(-nats[:, 6:], expected.squeeze(2))


def test_a_head_learns_and_the_model_below_stays_to_the_byte(tmp_path) -> None:
    given = data(tmp_path / "data")
    made = module(given)
    before = copy.deepcopy(made.model.state_dict())
    train(tmp_path / "run", made, given, steps=12)
    changed = {name for name, value in made.model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"score_head.weight", "score_head.bias"}
    assert made.model.parameter_counts()["trainable"] == 16 + 2 + 1
    assert {"auc", "ece", "accuracy", "base_rate", "loss"} <= {name.removeprefix("val/") for name in made.measured.val}
    hashes = made.record()["judged_questions"]
    train_asked = given.table("train").asked
    assert question_hash(train_asked[0]) in hashes
    assert len(hashes) == len(set(train_asked)) < 40


def test_all_of_it_learns_what_the_question_says(tmp_path) -> None:
    given = data(tmp_path / "data", n=60)
    made = module(given, train="all", at="last", features=False)
    train(tmp_path / "run", made, given, steps=2)
    assert made.lm_weight == 0.1
    assert (made.model.score_head.weight[:, 16:] == 0).all(), "features that are off stay off"


@pytest.mark.parametrize("settings", [{}, {"train": "all", "lm_weight": 0.3}])
def test_N18_the_same_update_however_it_is_split(tmp_path, settings) -> None:
    found = []
    for batch_size in (8, 2):
        given = data(tmp_path / f"data{batch_size}", batch_size=batch_size)
        given.accumulate = 8 // batch_size
        made = module(given, lr=0.02, **settings)
        train(tmp_path / str(batch_size), made, given, steps=3, precision="64-true")
        found.append((made.state_dict(), made.measured.train | made.measured.val))
    for name, value in found[0][0].items():
        torch.testing.assert_close(found[1][0][name], value, rtol=1e-5, atol=1e-5)
    for name, value in found[0][1].items():
        assert found[1][1][name] == pytest.approx(value, rel=1e-4, abs=1e-4), name


def test_what_would_do_nothing_is_refused(tmp_path) -> None:
    given = data(tmp_path / "data")
    with pytest.raises(RequestError, match=r"lm_weight=0\.5 is for objective"):
        module(given, lm_weight=0.5)
    with pytest.raises(RequestError, match="do not go together: the head alone"):
        module(given, adapter={"rank": 4})
    assert isinstance(VerifierModule.prepare_model(RewardModel(tiny().backbone)), Verifier)
