"""A stream: disjoint over ranks and workers, shuffled, held-out documents left out, resumed exactly."""

import json
from collections import Counter
from itertools import chain, islice

import pytest
import torch

from datamodules.batching.stream import Blocks, Cursor, Part, State
from datamodules.hf import HfDataModule
from errors import RequestError
from tests.small import make_module, make_trainer
from tokenization.byte import ByteTokenizer

N_DOCUMENTS = 50
TEXTS = [f"<{i}>" * (1 + i % 5) for i in range(N_DOCUMENTS)]


class Texts:
    """A stream of given files."""

    name = "texts"

    def __init__(self, *files: list[str]):
        self.files, self.n_shards = files, len(files)

    def open(self, shard, skip, ignored=None):
        return iter(self.files[shard][skip:])

    def fingerprint(self) -> str:
        return "0"


def spread_over(n_files: int) -> Texts:
    return Texts(*[TEXTS[i::n_files] for i in range(n_files)])


def part(stream, number=0, n_parts=1, *, held_out=(), shuffled=True) -> Part:
    return Part(stream, number, n_parts, 7, frozenset(held_out), shuffled)


def epoch(p: Part, number: int) -> list[str]:
    found = []
    for cursor, text in p.documents(Cursor(number)):
        if cursor.epoch > number:
            return found
        found.append(text)
    raise AssertionError


@pytest.mark.parametrize("n_files", [1, 3, 4, 6])
@pytest.mark.parametrize("n_parts", [1, 2, 3, 6])
@pytest.mark.parametrize("number", [0, 1])
def test_N9_S31_parts_are_disjoint_and_hold_everything(n_files, n_parts, number):
    parts = [epoch(part(spread_over(n_files), i, n_parts), number) for i in range(n_parts)]
    assert sorted(chain.from_iterable(parts)) == sorted(TEXTS)


def test_each_epoch_takes_the_files_in_another_order():
    assert epoch(part(spread_over(10)), 0) != epoch(part(spread_over(10)), 1)
    assert epoch(part(spread_over(10), shuffled=False), 0) == epoch(part(spread_over(10), shuffled=False), 1)


def test_N17_every_cursor_leads_to_its_document():
    p = part(spread_over(4), 1, 3)
    seen = list(islice(p.documents(Cursor()), 60))
    for i, (cursor, _) in enumerate(seen):
        assert list(islice(p.documents(cursor), 60 - i)) == seen[i:]


def blocks(state=State(), windows=4, **settings) -> Blocks:  # noqa: B008 - frozen
    return Blocks(part(spread_over(4), **settings), ByteTokenizer(), seq_len=8, windows=windows, state=state)


def test_windows_are_those_of_one_sequence_each_once():
    tokens = "".join(epoch(part(spread_over(4), shuffled=False), 0)).encode()
    assert bytes(x for window in blocks(shuffled=False).take(10) for x in window[:-1].tolist() if x < 256) in tokens
    plain = Counter(bytes(w[:8].astype("u1")) for w in blocks(windows=1).take(12))
    mixed = Counter(bytes(w[:8].astype("u1")) for w in blocks(windows=4).take(12))
    assert plain == mixed


@pytest.mark.parametrize("taken", [1, 3, 4, 5, 37, 120])
def test_N17_S32_S33_a_state_goes_on_exactly_and_again(taken):
    """Across blocks, documents and epochs (an epoch has about 45 windows), after the first resume and the second."""
    whole = blocks().take(200)
    first = blocks()
    first.take(taken)
    state = State.of(json.loads(json.dumps(first.state.numbers())))
    second = blocks(state)
    again = second.take(11)
    third = blocks(State.of(second.state.numbers()))
    assert (again == whole[taken : taken + 11]).all()
    assert (third.take(60) == whole[taken + 11 : taken + 71]).all()


def test_documents_that_validate_do_not_train():
    from datamodules.preparing.split import text_hash

    found = epoch(part(spread_over(3), held_out=[text_hash([TEXTS[7]])]), 0)
    assert sorted(found) == sorted(TEXTS[:7] + TEXTS[8:])


def test_a_part_without_documents_says_so():
    with pytest.raises(RequestError, match=r"no document for part 3 of 3"):
        next(part(Texts(["a"], ["b"]), 2, 3).documents(Cursor()))


@pytest.fixture
def data(write):
    files = [
        write(f"many/{i}.jsonl", "".join(json.dumps({"text": t * 3}) + "\n" for t in TEXTS[i::3])) for i in range(3)
    ]

    def build(**keys) -> HfDataModule:
        given = {"path": str(files[0].parent / "*.jsonl"), "cache_dir": str(files[0].parents[1] / "cache")}
        sizes = {"seq_len": 8, "batch_size": 2, "shuffle_buffer": 16, "val_documents": 5, "sample_documents": 10}
        return HfDataModule(tokenizer=ByteTokenizer(), **{**given, **sizes, "streaming": True, **keys})

    return build


def ids_of(module, steps: int, **parts) -> list[torch.Tensor]:
    for name, value in parts.items():
        setattr(module, name, value)
    module.prepare()
    return [torch.cat([micro["ids"] for micro in micros]) for micros in islice(iter(module.train_dataloader()), steps)]


@pytest.mark.parametrize("workers", [0, 2])
def test_N17_trainer_goes_on_exactly_at_7_and_again_at_19(workers, data, tmp_path):
    """Losses of 30 steps in one go, and stopped twice: an epoch ends on the way."""

    def run(folder: str, max_steps: int, checkpoint=None) -> list[float]:
        losses = []
        module = make_module(vocab_size=257)
        trainer = make_trainer(tmp_path / folder, max_steps=max_steps, val_every=1000, checkpoint_every=1000)
        step = module.training_step

        def record(batch, batch_idx):
            step(batch, batch_idx)
            losses.append(module.measured.train["train/loss"])

        module.training_step = record
        trainer.fit(module, data(workers=workers), ckpt_path=checkpoint, weights_only=True)
        return losses

    whole = run("whole", 30)
    first = run("parts", 7)
    last = tmp_path / "parts" / "checkpoints" / "last.ckpt"
    second = run("parts", 19, last)
    third = run("parts", 30, last)
    assert first + second + third == whole


def test_another_number_of_workers_cannot_go_on(data):
    module = data(workers=2)
    with pytest.raises(RequestError, match=r"1 rank\(s\) with data\.workers=0"):
        module.load_state_dict(data().state_dict())


def test_workers_take_turns_also_after_a_resume(data):
    module = data(workers=2)
    whole = ids_of(module, 9)
    state = {worker: state for made, worker, state in module._history if made <= 5}
    later = data(workers=2)
    later.start_step, later._states = 5, state
    assert all(torch.equal(a, b) for a, b in zip(ids_of(later, 4), whole[5:], strict=True))


def test_ranks_get_different_windows_in_equal_shapes(data):
    ranks = [torch.cat(ids_of(data(seq_len=16), 5, rank=rank, world_size=2)) for rank in (0, 1)]
    assert ranks[0].shape == ranks[1].shape
    rows = [{tuple(row.tolist()) for row in ids} for ids in ranks]
    assert not rows[0] & rows[1]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"packing": "bestfit", "doc_mask": True}, "must know all lengths"),
        ({"stride": 4}, "windows that overlap"),
        ({"revision": "main"}, r"data\.revision=main is for the Hub"),
    ],
    ids=str,
)
def test_what_a_stream_cannot_do(keys, words, data):
    with pytest.raises(RequestError, match=words):
        data(**keys).prepare()
