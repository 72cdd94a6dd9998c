"""Online RL end to end on a tiny model: it learns, starts as it must, refuses to start wrong, goes on exactly."""

import copy
import json
import math

import pytest
import torch

from batch import IGNORE
from errors import RequestError, RunError
from lightning_modules.grpo import GRPOModule
from lightning_modules.rl.held_out import BeforeAndAfter
from lightning_modules.rl.minibatches import deal, turn_of
from lightning_modules.rl.rollouts import joined, log_probs, padded, roll_out, rows_of
from lightning_modules.rloo import RLOOModule
from models.adapters.lora import lora
from models.generation import Completion
from models.gpt import GPT
from tests.prompts import END, VOCAB, A, Fixed, PromptData, ShareOfA, make_policy, train

BOTH = [GRPOModule, RLOOModule]


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("seed", range(5))
def test_the_share_of_token_a_rises(tmp_path, kind, seed):
    data = PromptData()
    module = make_policy(kind, data, seed=seed, lr=1e-2)
    train(tmp_path, module, data, steps=60)
    assert module.found.before["reward"] < 0.3
    assert module.found.after["reward"] > 0.9
    assert module.record()["held_out"]["after"] == module.found.after


def collected(module, data, folder):
    """The first rollout, and the module after one update."""
    train(folder, module, data, steps=1)
    return module.rollout


@pytest.mark.parametrize("temperature", [1.0, 1.3])
def test_N49_N56_generation_and_training_agree_and_the_first_ratio_is_1(tmp_path, temperature):
    data = PromptData()
    module = make_policy(GRPOModule, data, temperature=temperature, epochs=2)
    rollout = collected(module, data, tmp_path)
    mask = rollout["targets"] != IGNORE
    torch.testing.assert_close(rollout["generated"][mask], rollout["old"][mask], rtol=0, atol=1e-5)
    torch.testing.assert_close(rollout["ref"], rollout["old"], rtol=0, atol=1e-6)
    found = module.measured.train
    assert found["policy/ratio_max"] == pytest.approx(1.0, abs=1e-5)
    assert found["objective/kl"] == pytest.approx(0.0, abs=1e-5)
    assert found["rollout/gap"] < 1e-5


def test_N49_without_the_temperature_the_check_speaks(tmp_path, monkeypatch):
    data = PromptData()
    module = make_policy(GRPOModule, data, temperature=1.5, epochs=2)
    plain = lambda model, micro, temperature: log_probs(model, micro, 1.0)  # noqa: E731
    monkeypatch.setattr("lightning_modules.rl.policy.log_probs", plain)
    with pytest.raises(RequestError, match="two policies of one"):
        train(tmp_path, module, data, steps=1)


def test_N50_nothing_is_cut_off_the_distribution(tmp_path, monkeypatch):
    """A generator that drew from the likeliest tokens alone would be found out."""
    from dataclasses import replace

    from lightning_modules.rl import rollouts

    plain = rollouts.generate
    monkeypatch.setattr(
        rollouts, "generate", lambda *a, sampling, **k: plain(*a, sampling=replace(sampling, top_k=4), **k)
    )
    data = PromptData()
    with pytest.raises(RequestError, match="differ by up to"):
        train(tmp_path, make_policy(GRPOModule, data), data, steps=1)


def test_N51_the_end_is_an_action_and_padding_is_not_even_where_both_are_one_id():
    answers = [Completion([7, END], [-0.5, -0.25], True), Completion([8, 9, 8], [-1.0, -2.0, -3.0], False)]
    batch = padded([[3, END, 4], [5]], answers)
    assert batch["ids"].tolist() == [[3, END, 4, 7], [5, 8, 9, 0]]
    assert batch["targets"].tolist() == [[IGNORE, IGNORE, 7, END], [8, 9, 8, IGNORE]]
    assert batch["generated"].tolist() == [[0, 0, -0.5, -0.25], [-1, -2, -3, 0]]
    assert batch["lengths"].tolist() == [4, 3]
    assert batch["stopped"].tolist() == [True, False]


class Writes:
    """A tool: after an answer's first token it writes A twice."""

    def forced(self, ids):
        return [A, A] if len(ids) == 1 else []

    def allowed(self, ids):
        return None


def test_N51_what_a_tool_wrote_is_read_and_is_no_action():
    answers = [Completion([7, 8, 9, END], [-0.5, -9.0, -9.0, -0.25], True, [1, 2])]
    batch = padded([[3, 4]], answers)
    assert batch["ids"].tolist() == [[3, 4, 7, 8, 9]]
    assert batch["targets"].tolist() == [[IGNORE, 7, IGNORE, IGNORE, END]]


@pytest.mark.parametrize("kind", BOTH)
def test_N55_a_policy_with_a_tool_starts_right_and_counts_forced_tokens_apart(tmp_path, kind):
    data = PromptData()
    module = make_policy(kind, data, epochs=2)
    module.guide = lambda prompt: Writes()
    rollout = collected(module, data, tmp_path)
    actions = (rollout["targets"] != IGNORE).sum(1)
    own = log_probs(module.model, rollout, 1.0)[0]
    assert torch.equal(own == 0, rollout["targets"] == IGNORE)  # the loss knows nothing of what was forced
    found = module.measured.train
    went_on = (actions > 1).float().mean().item()
    assert found["rollout/forced"] == pytest.approx(2 * went_on)
    assert found["rollout/length"] == pytest.approx(actions.float().mean().item())
    assert found["rollout/gap"] < 1e-5
    assert found["policy/ratio_max"] == pytest.approx(1.0, abs=1e-5)


def test_unknown_tools_of_a_policy_are_refused():
    with pytest.raises(RequestError, match="no tool abacus"):
        make_policy(GRPOModule, PromptData(), tools=["abacus"])


def test_N55_dropout_is_off_from_the_first_rollout_on(tmp_path):
    data = PromptData()
    module = make_policy(GRPOModule, data, dropout=0.3, epochs=2)
    train(tmp_path, module, data, steps=1)
    assert module.measured.train["policy/clipfrac_avg"] == 0.0
    with pytest.raises(RequestError, match=r"adapter\.dropout=0"):
        make_policy(GRPOModule, data, adapter={"dropout": 0.1})


def test_N54_the_reference_is_the_model_that_the_run_starts_from(tmp_path):
    data = PromptData()
    module = make_policy(GRPOModule, data)
    module.reference.keep_start(module.model)
    with torch.no_grad():
        module.model.head.weight.mul_(1.5)
    with pytest.raises(RequestError, match="not the model that the run starts from"):
        train(tmp_path, module, data, steps=1)


def test_N54_beside_adapters_the_reference_is_the_model_without_them_however_far_they_have_moved(tmp_path):
    data = PromptData()
    plain = GPT(vocab_size=VOCAB, seq_len=16, n_layer=1, n_head=2, n_embd=32).eval()
    start = copy.deepcopy(plain)
    adapted = lora(model=plain, rank=2, alpha=4, dropout=0.0, targets="all-linear", rslora=False, dora=False)
    module = make_policy(GRPOModule, data, model=adapted, lr=0.1, kl=0.1, epochs=2)
    train(tmp_path, module, data, steps=3)  # into the second rollout, which the policy has moved before
    rollout = module.rollout
    mask = rollout["targets"] != IGNORE
    torch.testing.assert_close(rollout["ref"], log_probs(start, rollout, 1.0)[0].detach(), rtol=0, atol=1e-5)
    assert (rollout["ref"] - rollout["old"])[mask].abs().max() > 1e-2
    assert module.measured.train["objective/kl"] != 0
    assert module.reference.frozen is None


def test_N48_a_cap_that_cuts_every_answer_is_named(tmp_path):
    data = PromptData()
    data.end = 0  # never drawn in so few tokens
    module = make_policy(GRPOModule, data, max_new_tokens=1, seed=3)
    module.data.end = 10**6
    with pytest.raises(RequestError, match="none of the first 32 answers ends by itself"):
        train(tmp_path, module, data, steps=1)


def test_checks_warn_goes_on(tmp_path, capsys):
    data = PromptData()
    train(tmp_path, make_policy(GRPOModule, data, reward={"same": Fixed(lambda text: 1)}, checks="warn"), data, steps=1)
    assert "there is nothing to learn from" in capsys.readouterr().out


def test_equal_rewards_stop_before_the_first_update(tmp_path):
    data = PromptData()
    module = make_policy(GRPOModule, data, reward={"same": Fixed(lambda text: 1)}, truncated="rule")
    before = module.model.head.weight.clone()
    with pytest.raises(RequestError, match="there is nothing to learn from"):
        train(tmp_path, module, data, steps=1)
    assert torch.equal(before, module.model.head.weight)


def test_N59_a_reward_that_is_no_number_stops_before_the_update(tmp_path):
    data = PromptData()
    module = make_policy(GRPOModule, data, reward={"bad": Fixed(lambda text: math.nan)})
    with pytest.raises(RunError, match=r"reward\.bad gives nan for an answer"):
        train(tmp_path, module, data, steps=1)


@pytest.mark.parametrize("truncated", ["score", "rule", "mask"])
def test_cut_off_answers(tmp_path, truncated):
    """score: the stated value; rule: what the reward says; mask: no gradient."""
    data = PromptData()
    module = make_policy(GRPOModule, data, truncated=truncated, truncated_score=-3.0, max_new_tokens=8, norm="tokens")
    rollout = collected(module, data, tmp_path)
    cut = ~rollout["stopped"]
    assert 0 < cut.sum() < len(cut)
    if truncated == "score":
        assert (rollout["scores"][cut] == -3.0).all()
        assert (rollout["scores"][~cut] >= 0).all()
    else:
        assert (rollout["scores"] >= 0).all()
    used = sum(int((m["targets"] != IGNORE).sum()) for m in module.micro_batches(0, 0))
    learned = ((rollout["advantages"] != 0) & (rollout["targets"] != IGNORE)).any(1)
    rows = learned & ~cut if truncated == "mask" else learned
    assert used == int((rollout["targets"] != IGNORE)[rows].sum())


def test_N46_lengths_are_of_what_was_written(tmp_path):
    """Masked answers are as long as they are; they would else seem to shrink."""
    data = PromptData()
    found = {}
    for truncated in ("rule", "mask"):
        module = make_policy(GRPOModule, data, truncated=truncated)
        train(tmp_path / truncated, module, data, steps=1)
        found[truncated] = module.measured.train["rollout/length"]
    assert found["rule"] == found["mask"] > 1


def test_N63_what_is_logged_has_the_weights_in_it(tmp_path):
    data = PromptData()
    module = make_policy(GRPOModule, data, reward={"a": ShareOfA(weight=3.0), "b": Fixed(lambda text: 1, weight=-0.5)})
    train(tmp_path, module, data, steps=1)
    found = module.measured.train
    assert found["objective/scores"] == pytest.approx(3 * found["reward/a"] - 0.5 * found["reward/b"], abs=1e-6)


@pytest.mark.parametrize("kind", BOTH)
def test_a_shift_of_all_scores_changes_nothing(tmp_path, kind):
    data = PromptData()
    ends = {}
    for shift in (0.0, 7.0):
        reward = {"a": Fixed(lambda text, shift=shift: shift + text.split().count(str(A)))}
        module = make_policy(kind, data, reward=reward, truncated="rule")
        train(tmp_path / str(shift), module, data, steps=2)
        ends[shift] = module.model.head.weight.detach()
    torch.testing.assert_close(ends[0.0], ends[7.0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("norm", ["constant", "tokens", "sequence"])
@pytest.mark.parametrize("kl", [0.0, 0.1])
def test_N44_micro_batches_do_not_change_the_update(tmp_path, norm, kl):
    """In float64: sums in another order differ by some 1e-16 of their size."""
    data, ends = PromptData(), {}
    for rows in (64, 3):
        module = make_policy(GRPOModule, data, rows=rows, norm=norm, kl=kl, epochs=2, dtype=torch.float64)
        train(tmp_path / str(rows), module, data, steps=2)
        ends[rows] = {name: value.detach().clone() for name, value in module.model.named_parameters()}
    for name, value in ends[64].items():
        torch.testing.assert_close(value, ends[3][name], rtol=0, atol=1e-6, msg=name)


def test_the_answers_to_a_question_stand_in_one_forward_pass(tmp_path):
    """Then what they begin with is read once; groups come in the order of their longest answers: little padding."""
    data = PromptData()
    module = make_policy(GRPOModule, data, rows=8, kl=0.1)  # two groups of 4; with kl no row is left out
    rollout = collected(module, data, tmp_path)
    assert rollout["asked"].unique().numel() == 8
    micros = module.micro_batches(0, 0)
    for micro in micros:
        assert micro["asked"].unique(return_counts=True)[1].tolist() == [4, 4]
    longest = [int(lengths.max()) for micro in micros for lengths in micro["lengths"].split(4)]
    assert longest == sorted(longest)


# ---- dealing and draws --------------------------------------------------------------------------------------------


def test_minibatches_are_the_same_for_any_number_of_ranks_and_shared_out_whole():
    def sets(world):
        shares = [deal(24, minibatches=3, seed=5, item=7, rank=rank, world_size=world) for rank in range(world)]
        return [sorted(torch.cat([share[m] for share in shares]).tolist()) for m in range(3)]

    assert sets(1) == sets(2) == sets(4)
    assert sorted(place for places in sets(1) for place in places) == list(range(24))
    assert sets(1) != [sorted(row) for row in deal(24, minibatches=3, seed=5, item=8, rank=0, world_size=1).tolist()]
    for epoch in range(3):
        turns = [turn_of(epoch * 3 + t, minibatches=3, seed=5, item=7) for t in range(3)]
        assert sorted(turns) == [0, 1, 2]


def test_N58_N62_draws_depend_on_prompt_and_rollout_and_on_nothing_else():
    data = PromptData()
    module = make_policy(GRPOModule, data)
    prompts = [q.prompt.tolist() for q in data.sides["train"][:6]]

    def drawn(which, seed):
        batch, answers = roll_out(
            module.model, [prompts[i] for i in which], module.drawing, n=3, seed=seed, numbers=which
        )
        assert batch["ids"].shape[0] == 3 * len(which)
        for row in range(3 * len(which)):  # a group's rows lie side by side, each behind its own prompt
            prompt = prompts[which[row // 3]]
            assert batch["ids"][row, : len(prompt)].tolist() == prompt
        return [tuple(answer.ids) for answer in answers]

    whole = drawn([0, 1, 2, 3, 4, 5], seed=11)
    assert drawn([1, 3, 5], seed=11) == whole[3:6] + whole[9:12] + whole[15:18]
    assert drawn([0, 1, 2, 3, 4, 5], seed=12) != whole
    assert len(set(whole[:3])) > 1  # the answers to one prompt differ


def test_N62_rollouts_share_no_draws(tmp_path):
    """One question at every place, and weights that stay: only the draws can differ."""
    data = PromptData(8)
    data.sides["train"] = data.sides["train"][:1] * 8
    seen = []
    for steps in (1, 2):
        train(tmp_path / str(steps), module := make_policy(GRPOModule, data, lr=0.0), data, steps=steps)
        seen.append(sorted(module.rollout["ids"].tolist()))
    assert seen[0] != seen[1]


def test_rows_and_joining_are_inverse():
    one = padded([[3, 4], [5]], [Completion([7, END], [-1.0, -1.0], True), Completion([8], [-1.0], False)])
    parts = [rows_of(one, torch.tensor([i])) for i in range(2)]
    assert parts[1]["ids"].shape == (1, 1)
    for name, value in joined(parts).items():
        assert torch.equal(value, one[name]), name


# ---- going on -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", BOTH)
@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_N61_a_run_goes_on_bit_for_bit_from_any_update_of_a_rollout(tmp_path, kind, stop):
    settings = {"epochs": 2, "minibatches": 2, "kl": 0.05}
    whole_data, data = PromptData(), PromptData()
    whole = make_policy(kind, whole_data, **settings)
    train(tmp_path / "whole", whole, whole_data, steps=7)
    train(tmp_path / "parts", make_policy(kind, data, **settings), data, steps=stop)
    again = make_policy(kind, PromptData(), seed=4, **settings)  # other weights, until the checkpoint is read
    train(tmp_path / "parts", again, again.data, steps=7, resume=True)
    for name, value in whole.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    assert again.found.before == whole.found.before
    assert again.found.after == whole.found.after
    saved = torch.load(tmp_path / "parts/checkpoints/last.ckpt", weights_only=True)
    assert saved["tokens_seen"] == whole.measured.tokens_seen
    assert ("rollout" in saved) == (7 % 4 != 0)


def test_the_rollout_in_the_checkpoint_is_what_makes_it_exact(tmp_path):
    data = PromptData()
    settings = {"epochs": 2, "minibatches": 2}
    train(tmp_path, make_policy(GRPOModule, data, **settings), data, steps=2)
    file = tmp_path / "checkpoints/last.ckpt"
    saved = torch.load(file, weights_only=True)
    del saved["rollout"]
    torch.save(saved, file)
    again = make_policy(GRPOModule, PromptData(), **settings)
    with pytest.raises(RunError, match="rollout"):
        train(tmp_path, again, again.data, steps=4, resume=True)


def test_a_rollout_of_an_earlier_version_that_does_not_number_its_questions_goes_on_the_same(tmp_path):
    settings, ends = {"epochs": 2, "minibatches": 2}, {}
    for name in ("numbered", "not"):
        train(tmp_path / name, make_policy(GRPOModule, data := PromptData(), **settings), data, steps=2)
        file = tmp_path / name / "checkpoints/last.ckpt"
        saved = torch.load(file, weights_only=True)
        if name == "not":
            del saved["rollout"]["asked"]
        torch.save(saved, file)
        again = make_policy(GRPOModule, PromptData(), **settings)
        train(tmp_path / name, again, again.data, steps=4, resume=True)
        ends[name] = again.model.head.weight.detach()
    assert torch.equal(ends["numbered"], ends["not"])


def test_the_gain_of_held_out_answers_is_a_ratio_over_kinds_worked_by_hand():
    """Six kinds of four answers each: 2 right -> 3 of each but one, which stays; one kind is not asked at the end."""
    found = BeforeAndAfter()
    rows = {"rows": torch.tensor(24.0), "reward": torch.tensor(12.0), "stopped": torch.tensor(24.0)}
    asked = torch.tensor([4.0] * 6 + [0.0])
    found.note(rows | {"right": torch.stack([torch.tensor([2.0] * 6 + [0.0]), asked])})
    found.begin_here()
    found.note(rows | {"right": torch.stack([torch.tensor([3.0] * 5 + [2.0, 0.0]), asked])})
    assert found.before["sampled_exact_match"] == 0.5
    assert found.gain.value == pytest.approx(5 / 24)
    # Student's t of 5 degrees times the deviation of five 1/4 and a 0 over sqrt(6), or more: 2.5706 x 0.10206 / 2.4495
    assert found.gain.low <= 5 / 24 - 2.5706 * 0.10206 / 6**0.5 + 1e-4
    assert found.gain.high >= 5 / 24 + 2.5706 * 0.10206 / 6**0.5 - 1e-4
    assert found.in_words().startswith("right answers 50.0% -> 70.8%: +20.8 points (95 % interval +")
    assert found.in_words().endswith("over 6 expected answers)")
    again = BeforeAndAfter()
    again.load(found.state())
    again.note(rows | {"right": torch.stack([torch.tensor([3.0] * 5 + [2.0, 0.0]), asked])})
    assert again.record() == found.record()


def test_where_no_answer_is_known_no_gain_is_told(tmp_path, capsys):
    module = make_policy(GRPOModule, PromptData())
    train(tmp_path, module, module.data, steps=1)
    assert module.found.gain is None
    assert module.record()["held_out"].keys() == {"before", "after"}
    assert "right answers" not in capsys.readouterr().out


# ---- refused ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"prompts": 6, "minibatches": 4}, "Type objective.prompts=8"),
        ({"group": 1}, "Type objective.group=8"),
        ({"temperature": 0.0}, "Type objective.temperature=1"),
        ({"strategy": "fsdp"}, "hardware=ddp"),
        ({"compile_model": True}, "trainer.compile=false"),
        ({"max_new_tokens": 13}, "Type objective.max_new_tokens=12"),
        ({"kl": -0.1}, "0 or more"),
        ({"reward": {"a": ShareOfA(weight=0.0)}}, "every weight is 0"),
    ],
)
def test_refused_with_what_to_type(settings, words):
    with pytest.raises(RequestError) as told:
        make_policy(GRPOModule, PromptData(), **settings)
    assert words in str(told.value)


def test_a_gold_answer_that_cannot_be_read_stops_the_run():
    with pytest.raises(RequestError, match=r"cannot be read as data\.answers=number"):
        make_policy(GRPOModule, PromptData(answers="number"))


def test_metrics_are_json(tmp_path):
    data = PromptData()
    module = make_policy(GRPOModule, data)
    train(tmp_path, module, data, steps=1)
    json.dumps([module.measured.train, module.record(), module.shown])
