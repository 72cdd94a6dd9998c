"""A mixture draws from each source in proportion, walks through each in its own order, and counts."""

import json

import numpy as np
import pytest

from datamodules.batching import epochs
from datamodules.batching.windows import ORDERS
from datamodules.mixture import CYCLE, RESTART, Dealt, MixtureDataModule, MixtureOrder, deal, quotas
from errors import RequestError
from launcher.config.instantiate import build
from tokenization.bpe import BPETokenizer
from tokenization.byte import ByteTokenizer
from tokenization.char import CharTokenizer

TEXTS = {"a": "a" * 500, "b": "b" * 900, "c": "c" * 2000}


@pytest.fixture
def data(write, tmp_path):
    paths = {name: str(write(f"{name}.txt", text)) for name, text in TEXTS.items()}

    def build(tokenizer=None, **keys) -> MixtureDataModule:
        given = {"paths": paths, "weights": {"a": 1, "b": 3, "c": 6}, "cache_dir": str(tmp_path / "cache")}
        module = MixtureDataModule(
            tokenizer=tokenizer or ByteTokenizer(), **{**given, "seq_len": 8, "batch_size": 50, **keys}
        )
        module.prepare()
        return module

    return build


def seen(module, steps: int) -> str:
    loader = iter(module.train_dataloader())
    rows = [micro["ids"][:, 0] for _ in range(steps) for micro in next(loader)]
    return "".join(module.tokenizer.decode(row.tolist()) for row in rows)


@pytest.mark.parametrize("sampling", ["shuffle", "random", "sequential"])
def test_shares_are_the_weights_and_no_window_crosses_a_border(sampling, data):
    module = data(sampling=sampling)
    loader = iter(module.train_dataloader())
    counts = dict.fromkeys("abc", 0)
    for _ in range(40):
        (micro,) = next(loader)
        for ids, targets in zip(micro["ids"], micro["targets"], strict=True):
            text = module.tokenizer.decode([*ids.tolist(), int(targets[-1])])
            assert len(set(text)) == 1
            counts[text[0]] += 1
    assert [counts[name] / 2000 for name in "abc"] == pytest.approx([0.1, 0.3, 0.6], abs=0.03)
    assert {name: found["tokens"] // 8 for name, found in module.counted(40).items()} == counts


def test_in_a_cycle_shares_are_exact():
    assert quotas([1, 3, 6]) == (1000, 3000, 6000)
    assert sum(quotas([1, 1, 1])) == CYCLE
    assert quotas([1, 1e9])[0] == 1


def test_each_source_shows_every_window_once_an_epoch(data):
    order = data().order()
    assert isinstance(order, MixtureOrder)
    n = order.parts[0].n_windows * 10  # source a has a tenth of the windows
    starts = np.concatenate([order.starts(step, 10) for step in range(2 * n // 10)])
    first = starts[starts < order.parts[0].n_tokens][: order.parts[0].n_windows]
    assert sorted(first.tolist()) == [8 * i for i in range(order.parts[0].n_windows)]


def test_every_window_of_a_source_is_found_in_the_run():
    dealt = Dealt(quotas([1, 3, 6]), seed=2)
    source = dealt.sources(0, 2 * CYCLE)
    for i in range(3):
        where = np.flatnonzero(source == i)
        assert len(where) == 2 * dealt.quotas[i]
        assert [dealt.window(i, number) for number in (0, 7, 1000, 1999)] == where[[0, 7, 1000, 1999]].tolist()
        assert dealt.counts(int(where[1500]))[i] == 1500


def test_sources_are_the_same_for_any_division_into_steps(data):
    """Within a source too, until it begins again: from there on an update says which windows it holds already."""
    order = data().order()
    one = order.starts(0, 300)
    many = np.concatenate([order.starts(step, 100) for step in range(3)])
    assert (one == many).all()
    assert sum(order.dealt.counts(CYCLE + 77)) == CYCLE + 77


def mixture(sizes: tuple[int, ...], weights: tuple[int, ...], sampling: str = "shuffle") -> MixtureOrder:
    """Over sources of so many windows of one token and its target."""
    parts = tuple(ORDERS[sampling](size + 1, 1, 1, 5 + i) for i, size in enumerate(sizes))
    return MixtureOrder(sum(part.n_tokens for part in parts), 1, 1, 5, parts, quotas(list(weights)))


MIXTURES = [  # windows of each source, weights, windows an update
    ((7, 100), (1, 1), 12),
    ((20, 3000, 9), (1, 8, 1), 64),
    ((5, 400), (9, 1), 40),
    ((1, 2, 37), (1, 1, 1), 8),
    ((384, 50), (9999, 1), 512),
    ((30,), (1,), 20),
    ((60, 80), (1, 1), 64),
    ((6000, 7001), (1, 3), 11_000),  # an update of more than a cycle
]


@pytest.mark.parametrize("sampling", ["shuffle", "sequential"])
@pytest.mark.parametrize(("sizes", "weights", "n"), MIXTURES, ids=str)
def test_F38_no_window_twice_in_an_update_while_others_are_unread(sizes, weights, n, sampling):
    order = mixture(sizes, weights, sampling)
    drawn = np.stack([order.starts(step, n) for step in range(max(8, 3000 // n))])  # (steps, n)
    offset = 0
    for size, part in zip(sizes, order.parts, strict=True):
        mine = (drawn >= offset) & (drawn < offset + part.n_tokens)
        for update, here in zip(drawn, mine, strict=True):
            times = np.bincount(update[here] - offset, minlength=size)
            assert times.max() - times.min() <= 1
        run = (drawn - offset)[:RESTART][mine[:RESTART]]
        epochs = run[: len(run) // size * size].reshape(-1, size)
        assert (np.sort(epochs) == np.arange(size)).all()  # each once an epoch all the same
        offset += part.n_tokens


def test_F38_a_small_source_that_begins_anew_is_even_too():
    """Steps far into the run, over three restarts: epochs are other ones, updates even, windows seen as often."""
    order = mixture((30, 400), (1, 1))
    drawn = np.stack([order.starts(step, 64) for step in range(10 * RESTART - 40, 12 * RESTART + 40)])
    times = np.stack([np.bincount(update[update < 31], minlength=30) for update in drawn])
    assert (times.max(1) - times.min(1) <= 1).all()
    total = times.sum(0)
    assert total.max() - total.min() <= 5
    assert not (drawn[40] == drawn[40 + RESTART]).all()


@pytest.mark.parametrize(("sizes", "weights", "n"), MIXTURES, ids=str)
def test_F38_the_windows_of_a_step_need_no_step_before_it(sizes, weights, n):
    order = mixture(sizes, weights)
    forward = [order.starts(step, n) for step in range(12)]
    for step in (11, 4, 9):
        for cache in (deal, epochs._border, epochs._reordered):
            cache.cache_clear()
        assert (order.starts(step, n) == forward[step]).all()


def test_validation_is_all_sources_and_documents_keep_their_ends(data):
    module = data()
    text = "".join(module.tokenizer.decode(ids) for ids in module.folder.val.scan())
    assert set(text) == set("abc")
    assert len(module._ends("train")) == 3
    assert module.describe()["sources"]["b"]["share"] == 0.3


def test_one_tokenizer_learns_from_all(data):
    module = data(CharTokenizer())
    assert module.tokenizer.vocab_size == 4
    assert data(CharTokenizer()).tokenizer.fingerprint == module.tokenizer.fingerprint


def test_weights_are_by_size_where_none_are_given(data):
    sources = data(weights=None).describe()["sources"]
    assert sources["c"]["share"] == pytest.approx(2000 / 3400, abs=0.001)


def test_a_folder_of_token_files_is_a_source(data, make, tmp_path):
    prepared = make("d" * 400)
    prepared.prepare()
    module = data(paths={"a": str(tmp_path / "a.txt"), "d": str(prepared.folder.path)}, weights={"a": 1, "d": 1})
    assert set(seen(module, 3)) == {"a", "d"}
    assert json.dumps(module.describe())


def test_untrained_tokenizers_are_those_of_the_token_files(data, tmp_path):
    """A second one, learned from the rest, would give the ids another meaning."""
    first = data(tokenizer=CharTokenizer())
    paths = {"a": str(tmp_path / "a.txt"), "c": str(first.folders["c"].path)}
    module = data(tokenizer=CharTokenizer(), paths=paths, weights={"a": 1, "c": 1})
    assert module.tokenizer.fingerprint == first.tokenizer.fingerprint
    assert set(seen(module, 3)) == {"a", "c"}
    other = data(tokenizer=CharTokenizer(), paths={"b": str(tmp_path / "b.txt")}, weights=None)
    both = {"c": paths["c"], "b": str(other.folders["b"].path)}
    with pytest.raises(RequestError, match=r"data\.paths\.c and data\.paths\.b were made by different tokenizers"):
        data(tokenizer=CharTokenizer(), paths=both, weights=None)
    with pytest.raises(RequestError, match="was made by a char tokenizer, not by tokenizer=bpe"):
        data(tokenizer=BPETokenizer(vocab_size=300, train_bytes=1000), paths={"c": paths["c"]}, weights=None)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"paths": {}}, "needs its sources"),
        ({"weights": {"a": 1}}, "a positive number for each of a, b, c"),
        ({"weights": {"a": 1, "b": 0, "c": 1}}, "a positive number"),
        ({"paths": {"a": "nowhere.txt"}, "weights": None}, r"data\.paths\.a=nowhere\.txt: no such file"),
        ({"seq_len": 600}, r"data\.paths\.a=.* is shorter than one window"),
    ],
    ids=str,
)
def test_wrong_requests(keys, words, data):
    with pytest.raises(RequestError, match=words):
        data(**keys)


def test_F23_names_of_sources_are_texts_also_where_they_look_like_numbers(tmp_path):
    """Hydra and YAML read `{1: a.txt}` as a number's, and the refusal of its weights ended in a TypeError."""
    section = {"_target_": "datamodules.mixture.MixtureDataModule", "paths": {1: "a.txt", "c": "c.txt"}}
    keys = {"seq_len": 8, "batch_size": 2, "cache_dir": str(tmp_path)}
    assert list(build(section | keys, tokenizer=ByteTokenizer()).paths) == ["1", "c"]
    with pytest.raises(RequestError, match=r"expected a positive number for each of 1, c"):
        build(section | keys | {"weights": {2: 1.0}}, tokenizer=ByteTokenizer())
