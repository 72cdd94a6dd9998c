"""DPO and reward losses and gradients equal TRL's trainers' on one batch of a tiny random Llama."""

import copy

import pytest
import torch

from lightning_modules.dpo import DPOModule
from lightning_modules.reward import RewardModule
from tests.hf_tiny import VOCAB, Wrapped, llama, tokenizer
from tests.pairs import as_pairs, make_pairs

pytestmark = pytest.mark.filterwarnings("ignore")
PAIRS = make_pairs(4, seed=2, vocab=VOCAB)
# TRL's own reference trainer needs a data set in its constructor; it is not used
ROWS = [{"prompt": "w3", "chosen": "w4", "rejected": "w5"}]


def arguments(kind, folder, **settings):
    return kind(
        output_dir=str(folder), use_cpu=True, report_to=[], per_device_train_batch_size=4, bf16=False,
        gradient_checkpointing=False, disable_tqdm=True, **settings,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("loss_type", "settings"),
    [
        ("sigmoid", {}),
        ("hinge", {}),
        ("ipo", {}),
        ("robust", {"label_smoothing": 0.1}),
        ("sigmoid_norm", {}),
    ],
)
def test_dpo_equals_trl(tmp_path, loss_type, settings):
    from datasets import Dataset
    from trl import DPOConfig, DPOTrainer

    policy, reference = llama(), llama()
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    trainer = DPOTrainer(
        model=copy.deepcopy(policy), ref_model=copy.deepcopy(reference), processing_class=tokenizer(),
        args=arguments(DPOConfig, tmp_path, loss_type=[loss_type], beta=0.3, **settings),
        train_dataset=Dataset.from_list(ROWS),
    )  # fmt: skip
    examples = [{"prompt_ids": p, "chosen_ids": c, "rejected_ids": r} for p, c, r in PAIRS]
    expected = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    expected.backward()

    ours = DPOModule(model=Wrapped(policy), loss_type=loss_type, beta=0.3, reference="online", **settings)
    if ours.reference is not None:
        ours.reference.frozen = Wrapped(reference)
    out = ours.loss(as_pairs(PAIRS).micro(range(4)))
    (out.loss / 4).backward()
    torch.testing.assert_close(out.loss / 4, expected, rtol=1e-5, atol=1e-6)
    theirs = dict(trainer.model.named_parameters())
    for name, p in policy.named_parameters():
        torch.testing.assert_close(p.grad, theirs[name].grad, rtol=1e-5, atol=1e-5)
    names = ["logps/chosen", "logps/rejected"]
    if loss_type in ("sigmoid", "hinge", "robust"):  # in losses per token, TRL logs rewards of whole completions
        names += ["rewards/chosen", "rewards/rejected", "rewards/margins", "rewards/accuracies"]
    for name in names:
        logged = trainer._metrics["train"][name][-1]
        assert (out.sums[name] / 4).item() == pytest.approx(logged, rel=1e-4, abs=1e-5), name


@pytest.mark.parametrize("margins", [None, [0.5, 0.0, 1.0, 0.2]])
def test_reward_equals_trl(tmp_path, margins):
    from datasets import Dataset
    from transformers import LlamaForSequenceClassification
    from trl import RewardConfig, RewardTrainer

    language = llama()
    ours = RewardModule(model=RewardModule.prepare_model(Wrapped(language)), center_rewards=0.01)
    config = copy.deepcopy(language.config)
    config.num_labels = 1
    classifier = LlamaForSequenceClassification(config)
    classifier.model.load_state_dict(language.model.state_dict())
    classifier.score.weight.data.copy_(ours.model.score_head.weight.data)
    trainer = RewardTrainer(
        model=classifier, processing_class=tokenizer(), train_dataset=Dataset.from_list(ROWS),
        args=arguments(RewardConfig, tmp_path, center_rewards_coefficient=0.01, disable_dropout=True),
    )  # fmt: skip
    examples = [{"chosen_ids": p + c, "rejected_ids": p + r} for p, c, r in PAIRS]
    if margins:
        examples = [example | {"margin": margin} for example, margin in zip(examples, margins, strict=True)]
    expected = trainer.compute_loss(trainer.model, trainer.data_collator(examples))
    expected.backward()

    out = ours.loss(as_pairs(PAIRS, margins).micro(range(4)))
    (out.loss / 4).backward()
    torch.testing.assert_close(out.loss / 4, expected, rtol=1e-5, atol=1e-6)
    theirs = dict(trainer.model.named_parameters())
    torch.testing.assert_close(ours.model.score_head.weight.grad, theirs["score.weight"].grad, rtol=1e-5, atol=1e-5)
    for name, p in language.model.named_parameters():
        torch.testing.assert_close(p.grad, theirs[f"model.{name}"].grad, rtol=1e-5, atol=1e-5)
    assert language.lm_head.weight.grad is None
