"""Pairs: every format read alike, cutting side by side, batches as a function of the update, counts of what is left."""

import json
from collections import Counter
from itertools import chain

import numpy as np
import pytest
import torch

from datamodules.arithmetic_pairs import ArithmeticPairsDataModule, slip, slipped
from datamodules.batching.preference_table import PairSteps, cut
from datamodules.preference import PreferenceDataModule, split_at
from datamodules.reading.preference_rows import dialogue, preferences, shared_text
from datamodules.reading.problems import Sum, make_problem
from errors import RequestError
from lightning_modules.dpo import DPOModule
from tests.pairs import as_pairs, make_pairs, table_of
from tokenization.byte import ByteTokenizer
from tokenization.chat import ASSISTANT_END

USER, GOOD, BAD = ({"role": r, "content": c} for r, c in (("user", "2+2?"), ("assistant", "4"), ("assistant", "5")))
FORMATS = [
    {"prompt": "2+2?", "chosen": "4", "rejected": "5"},
    {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
    {"prompt": [USER], "chosen": "4", "rejected": "5"},
    {"prompt": "2+2?", "chosen": [USER, GOOD], "rejected": [USER, BAD]},  # ultrafeedback
    {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    {"chosen": "\n\nHuman: 2+2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2+2?\n\nAssistant: 5"},  # hh-rlhf
]


def read(rows, **settings):
    dropped = Counter()
    return list(preferences(((row, f"row {i}") for i, row in enumerate(rows)), dropped, **settings)), dropped


@pytest.mark.parametrize("row", FORMATS)
def test_every_format_is_the_same_pair(row):
    (pair,), dropped = read([row])
    assert (list(pair.prompt), pair.chosen, pair.rejected) == ([USER], "4", "5")
    assert not dropped


def test_implicit_prompts_end_at_a_word():
    assert shared_text("The sky is blue", "The sky is black") == "The sky is "
    (pair,), _ = read([{"chosen": "The sky is blue", "rejected": "The sky is black"}])
    assert (pair.prompt[0]["content"], pair.chosen, pair.rejected) == ("The sky is ", "blue", "black")


def test_hh_turns():
    turns = dialogue("\n\nHuman: Hi\n\nAssistant: Yes?\n\nHuman: Bye")
    assert [(m["role"], m["content"]) for m in turns] == [("user", "Hi"), ("assistant", "Yes?"), ("user", "Bye")]


def test_what_is_no_pair_is_dropped_and_counted():
    rows = [
        FORMATS[0],
        FORMATS[0] | {"rejected": "4"},
        FORMATS[0] | {"chosen": " "},
        FORMATS[0] | {"chosen": 3},
        {"chosen": [USER, GOOD], "rejected": [GOOD, USER]},
        {"prompt": [USER, GOOD], "chosen": "4", "rejected": "5"},
    ]
    pairs, dropped = read(rows)
    assert len(pairs) == 1
    assert dropped == {
        "chosen and rejected are the same": 1,
        "an answer is empty": 1,
        "chosen or rejected is neither text nor messages": 1,
        "chosen and rejected are not one answer each to the same prompt": 1,
        "the prompt is not a conversation that ends with the user": 1,
    }


def test_missing_columns_name_the_row():
    with pytest.raises(RequestError, match="row 0: the columns are 'text'"):
        read([{"text": "x"}])


def test_margins_from_a_column_or_from_scores():
    rows = [FORMATS[0] | {"margin": 0.5}, FORMATS[0] | {"score_chosen": 8.0, "score_rejected": 6.5}]
    assert read(rows[:1])[0][0].margin == 0.5
    assert read(rows[1:], scores=["score_chosen", "score_rejected"])[0][0].margin == 1.5
    assert read(rows[1:])[0][0].margin is None


def test_S11_each_side_is_cut_on_its_own_budget():
    """However long the other side is: a short answer stays whole, also its end."""
    prompt, short = np.arange(5), np.arange(100, 103)
    for other in (4, 40, 400):
        counts = Counter()
        p, c, r = cut(prompt, short, np.arange(other), seq_len=12, max_prompt=8, counts=counts)
        assert c.tolist() == [100, 101, 102]
        assert (len(p), len(r)) == (5, min(other, 7))
        assert counts == ({"answers cut": 1} if other > 7 else {})


def test_S11_long_prompts_keep_their_end_and_what_is_left_of_a_pair_is_counted():
    counts = Counter()
    p, _, _ = cut(np.arange(20), np.arange(3), np.arange(4), seq_len=12, max_prompt=8, counts=counts)
    assert p.tolist() == list(range(12, 20))
    same = np.arange(9)
    assert cut(np.arange(4), same, np.append(same[:8], 77), seq_len=12, max_prompt=8, counts=counts) is None
    assert cut(np.arange(4), same[:0], same, seq_len=12, max_prompt=8, counts=counts) is None
    assert counts == {
        "prompts cut": 1,
        "answers cut": 3,
        "the same after cutting": 1,
        "no room for an answer": 1,
    }


def test_a_batch_by_hand():
    micro = as_pairs([([7, 8], [1, 2], [3]), ([9], [4], [5, 6])]).micro([0, 1], fill=1)
    assert micro["ids"].tolist() == [[7, 8, 1, 2], [9, 4, 0, 0], [0] * 4, [7, 8, 3, 0], [9, 5, 6, 0], [0] * 4]
    n = -100
    assert micro["targets"].tolist() == [
        *([n, 1, 2, n], [4, n, n, n], [n] * 4),
        *([n, 3, n, n], [5, 6, n, n], [n] * 4),
    ]
    assert micro["lengths"].tolist() == [4, 2, 0, 3, 3, 0]


def test_order_is_a_function_of_the_step_and_covers_an_epoch():
    table = table_of(make_pairs(24))
    steps = PairSteps(table, batch_size=4, accumulate=2, rank=0, world_size=1, seed=3)
    epoch = [micro["index"].tolist() for k in range(3) for micro in steps[k]]
    assert sorted(chain(*epoch)) == list(range(24))
    assert epoch[2:4] == [micro["index"].tolist() for micro in steps[1]]
    ranks = [PairSteps(table, batch_size=4, accumulate=1, rank=r, world_size=2, seed=3)[1] for r in (0, 1)]
    assert [micro["index"].tolist() for rank in ranks for micro in rank] == epoch[2:4]


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def data(path, **settings):
    defaults = {"seq_len": 64, "batch_size": 2}
    module = PreferenceDataModule(tokenizer=ByteTokenizer(), path=path, **(defaults | settings))
    module.prepare()
    return module


def test_files_are_split_by_prompt_and_rendered_with_the_chat_template(tmp_path):
    rows = [
        {"prompt": f"{i % 10} plus 1?", "chosen": f"It is {i % 10 + 1}.", "rejected": f"No: {i}"} for i in range(40)
    ]
    module = data(write(tmp_path / "pairs.jsonl", rows), val_fraction=0.3)
    sides = dict(module._tables)
    prompts = {side: {bytes(table.parts(i)[0]) for i in range(len(table))} for side, table in sides.items()}
    assert not prompts["train"] & prompts["val"]
    assert len(sides["train"]) + len(sides["val"]) == 40
    prompt, chosen, _ = sides["train"].parts(0)
    assert module.tokenizer.decode(prompt).startswith("<|bos|><|user_start|>")
    assert module.tokenizer.decode(prompt).endswith("<|user_end|><|assistant_start|>")
    assert chosen[-1] == module.end == module.tokenizer.specials[ASSISTANT_END]
    question = module.questions(1)[0]
    assert module.tokenizer.decode(question.prompt).endswith("<|assistant_start|>")
    assert bytes(question.prompt.astype(np.int32)) in prompts["val"]


def test_questions_are_cut_as_prompts_are_in_training(tmp_path):
    """A prompt longer than the context would end the run where answers are first asked for."""
    rows = [{"prompt": "x" * 500 + str(i), "chosen": "yes", "rejected": "no"} for i in range(40)]
    write(tmp_path / "long.jsonl", rows)
    module = data(tmp_path / "long.jsonl", max_prompt=32)
    module.prepare()
    prompts = [question.prompt for question in module.questions(5)]
    assert prompts
    assert all(len(prompt) == 32 for prompt in prompts)


def test_validation_covers_every_pair_once_over_ranks(tmp_path):
    module = ArithmeticPairsDataModule(
        tokenizer=ByteTokenizer(), pairs=8, val_pairs=7, max_steps=1, max_number=20, seq_len=128, batch_size=2
    )
    module.prepare()
    seen, batches = [], []
    for rank in (0, 1):
        module.rank, module.world_size = rank, 2
        parts = list(module._validation())
        batches.append(len(parts))
        seen += [i for micro in parts for i in micro["index"][micro["lengths"][:2] > 0].tolist()]
    assert sorted(seen) == list(range(8, 15))  # validation's numbers follow those of training
    assert batches == [2, 2]


def test_few_prompts_leave_something_to_both_sides(tmp_path):
    assert split_at([0.3, 0.01, 0.9], 0.05) == 0.05
    assert split_at(iter([0.9, 0.3, 0.5]), 0.05) == 0.5  # 0.3 is validation's
    assert split_at([0.01, 0.02], 0.05) == 0.02
    assert split_at([0.4, 0.1, 0.3, 0.2], 0.05, least=2) == 0.3
    assert split_at([0.4], 0.05) == 0.05
    for n in range(2, 9):
        rows = [{"prompt": f"Say {i}", "chosen": "a b", "rejected": "c"} for i in range(n)]
        module = data(write(tmp_path / f"{n}.jsonl", rows))
        assert (len(module._tables["train"]), len(module._tables["val"])) in [(n - k, k) for k in range(1, n)]


def test_no_pairs_left_is_said_with_the_reasons(tmp_path):
    with pytest.raises(RequestError, match=r"no pair is left for training.*the same: 2"):
        data(write(tmp_path / "x.jsonl", [FORMATS[0] | {"rejected": "4"}] * 2), val_path=str(tmp_path / "x.jsonl"))
    with pytest.raises(RequestError, match=r"no pair is left for .*no rows, or all have the same prompt, which stands"):
        data(write(tmp_path / "y.jsonl", [FORMATS[0]] * 20))


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"max_prompt": 64}, "max_prompt"),
        ({"score_columns": ["a"]}, "two names"),
    ],
)
def test_wrong_settings_are_refused(settings, expected):
    with pytest.raises(RequestError, match=expected):
        PreferenceDataModule(tokenizer=ByteTokenizer(), path="x", **({"seq_len": 64, "batch_size": 2} | settings))


def test_a_slip_is_wrong_and_the_rest_follows_from_it():
    import random

    rng = random.Random(0)
    for index in range(300):
        problem = make_problem(index)
        lines = slipped(problem, rng, 50).split("\n")
        answer = int(lines[-1].removeprefix("#### "))
        assert answer != problem.answer
        assert lines[:-1] != problem.solution.split("\n")[:-1]
        results, wrong, here = [], 0, problem.sums[0].a
        for line, right in zip(lines[:-1], problem.sums, strict=True):
            step = Sum(here, right.op, right.b)
            here = int(line.rpartition(">>")[2])
            assert line.startswith(f"{step.a}{step.op}{step.b}=<<")
            wrong += here != step.result
            results.append(here)
        assert wrong == 1
        assert results[-1] == answer


def test_slips_are_plausible_numbers():
    import random

    rng = random.Random(1)
    for step in (Sum(5, "+", 4), Sum(1, "-", 1), Sum(9, "*", 5), Sum(40, "/", 8)):
        for _ in range(50):
            assert 0 <= slip(step, rng, 50) <= 50


def test_arithmetic_pairs_are_the_same_for_the_same_seed_and_validate_on_the_same_for_all():
    tables = []
    for seed in (0, 0, 1):
        module = ArithmeticPairsDataModule(
            tokenizer=ByteTokenizer(), pairs=20, val_pairs=20, max_steps=2, max_number=50, seq_len=128, batch_size=4,
            seed=seed,
        )  # fmt: skip
        module.prepare()
        tables.append(module._tables)
    first, same, other = tables
    assert first["train"].fingerprint() == same["train"].fingerprint() != other["train"].fingerprint()
    assert first["val"].fingerprint() == other["val"].fingerprint()
    assert torch.tensor(first["train"].lengths.max()) <= 128


def with_margins(tmp_path, margins, **keys) -> PreferenceDataModule:
    rows = [{"prompt": f"question {i}?", "chosen": "4", "rejected": "5"} | m for i, m in enumerate(margins)]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    given = {"tokenizer": ByteTokenizer(), "seq_len": 64, "batch_size": 2, "template": "plain", "val_fraction": 0.3}
    data = PreferenceDataModule(path=str(tmp_path / "rows.jsonl"), **given, **keys)
    data.prepare()
    return data


def test_margins_that_an_objective_does_not_read_are_counted(tmp_path):
    data = with_margins(tmp_path, [{"margin": 0.5}] * 20)
    assert data.ignored == {}
    objective = DPOModule(model=None, optimizer=None, loss_type="simpo", beta=1.0, grad_clip=None, log_every=1, seed=0)
    objective.check_data(data)
    assert data.ignored == {"column 'margin', which objective=dpo does not read": 20}
    assert "'margin'" in data.facts()["ignored"]
    scored = with_margins(tmp_path, [{"good": 3, "bad": 1}] * 20, score_columns=["good", "bad"])
    scored.pass_over_margins("gbft")
    assert scored.ignored == {"data.score_columns=['good', 'bad'], which objective=gbft does not read": 20}


def test_margins_of_some_pairs_are_used_by_none_and_counted(tmp_path):
    data = with_margins(tmp_path, [{"margin": 0.5}, {}] * 10)
    assert data.ignored == {"column 'margin', which other pairs lack": 10}
