"""GRPO's loss and gradient equal TRL's on one fixed batch, for the loss types that both have."""

import copy
import inspect

import pytest
import torch

from batch import IGNORE
from lightning_modules.grpo import GRPOModule
from lightning_modules.rl.losses import units
from lightning_modules.rl.rollouts import padded
from models.generation import Completion
from tests.hf_tiny import VOCAB, Wrapped, llama, tokenizer
from tests.prompts import PromptData, ShareOfA, Words

pytestmark = pytest.mark.filterwarnings("ignore")
LONGEST = 6
OURS = {"grpo": "sequence", "dr_grpo": "constant", "dapo": "tokens", "bnpo": "tokens"}


def rows():
    """Four ragged answers to ragged prompts, and old and reference log-probabilities that differ from the policy's."""
    generator = torch.Generator().manual_seed(7)
    prompts = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (2, 2, 4, 4)]
    answers = [torch.randint(3, VOCAB, (n,), generator=generator).tolist() for n in (6, 1, 3, 5)]
    return prompts, answers, torch.tensor([1.0, -0.5, 0.25, -2.0])


def theirs(inputs, policy, folder, *, loss_type, beta):
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    args = GRPOConfig(
        output_dir=str(folder), use_cpu=True, report_to=[], per_device_train_batch_size=4, bf16=False,
        gradient_checkpointing=False, disable_tqdm=True, loss_type=loss_type, beta=beta, epsilon=0.2,
        max_completion_length=LONGEST, num_generations=2, temperature=1.0, use_bias_correction_kl=False,
    )  # fmt: skip
    policy.save_pretrained(folder / "policy")  # TRL loads its reference from where the model is said to lie
    policy.config._name_or_path = str(folder / "policy")
    trainer = GRPOTrainer(
        model=policy, reward_funcs=lambda completions, **_: [0.0] * len(completions), args=args,
        processing_class=tokenizer(), train_dataset=Dataset.from_list([{"prompt": "w3"}] * 8),
    )  # fmt: skip
    trainer.current_gradient_accumulation_steps = 1
    trainer.args.steps_per_generation = 1
    trainer.model.train()
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    return loss.detach(), {name: p.grad.clone() for name, p in trainer.model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("loss_type", sorted(OURS))
@pytest.mark.parametrize("beta", [0.0, 0.05])
def test_grpo_equals_trl(tmp_path, loss_type, beta):
    prompts, answers, advantages = rows()
    policy, start = llama(), llama()
    with torch.no_grad():
        for p in policy.parameters():
            p.add_(0.05 * torch.randn(p.shape, generator=torch.Generator().manual_seed(p.numel())))
    completions = [Completion(ids, [0.0] * len(ids), True) for ids in answers]
    batch = padded(prompts, completions)
    mask = batch["targets"] != IGNORE
    with torch.no_grad():
        old = -Wrapped(start)(batch["ids"], targets_BT=batch["targets"], per_token=True).nll_BT

    norm = OURS[loss_type]
    size = units(norm, rows=4, actions=int(mask.sum()), longest=LONGEST)
    module = GRPOModule(
        model=Wrapped(copy.deepcopy(policy)), data=PromptData(), tokenizer=Words(), reward={"a": ShareOfA()},
        prompts=2, group=2, max_new_tokens=LONGEST, norm=norm, kl=beta,
    )  # fmt: skip
    module._trainer = type("T", (), {"global_step": 1, "world_size": 1})()
    micro = batch | {"old": old, "ref": old, "advantages": advantages.unsqueeze(1).expand_as(old)}
    ours = module.loss(micro).loss / size
    ours.backward()

    P, C = max(map(len, prompts)), max(map(len, answers))
    old_rows = torch.zeros(4, C)
    for row, ids in enumerate(answers):
        old_rows[row, : len(ids)] = old[row][mask[row]]
    inputs = {
        "prompt_ids": torch.tensor([[0] * (P - len(p)) + p for p in prompts]),
        "prompt_mask": torch.tensor([[0] * (P - len(p)) + [1] * len(p) for p in prompts]),
        "completion_ids": torch.tensor([a + [0] * (C - len(a)) for a in answers]),
        "completion_mask": torch.tensor([[1] * len(a) + [0] * (C - len(a)) for a in answers]),
        "advantages": advantages, "old_per_token_logps": old_rows, "ref_per_token_logps": old_rows,
        "num_items_in_batch": mask.sum(),
    }  # fmt: skip
    expected, gradients = theirs(inputs, policy, tmp_path, loss_type=loss_type, beta=beta)
    torch.testing.assert_close(ours.detach(), expected, rtol=1e-5, atol=1e-6)
    for name, p in module.model.inner.named_parameters():
        torch.testing.assert_close(p.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=name)


def test_trl_still_computes_its_loss_where_this_file_looks():
    from trl import GRPOTrainer

    assert list(inspect.signature(GRPOTrainer._compute_loss).parameters) == ["self", "model", "inputs"]
