"""data=hf: a folder in the Hub's format, saved sets and plain files; what can go wrong is said in plain words."""

import json
import os
import socket

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datamodules.hf import HfDataModule
from datamodules.reading import retry
from datamodules.reading.hub import HubData, HubSource, HubStream, explained
from datamodules.reading.retry import resuming, with_retries
from errors import RequestError, RunError
from tokenization.byte import ByteTokenizer

TRAIN = [f"training document {i}" for i in range(30)]
VAL = [f"validation document {i}" for i in range(6)]


@pytest.fixture(autouse=True)
def no_network(monkeypatch, tmp_path):
    """N11: whatever opens a socket fails the test."""

    connect = socket.socket.connect

    def refuse(self, address):
        assert self.family == socket.AF_UNIX, "the network was asked"  # a loader's workers use those
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "hf")
    monkeypatch.setattr(retry.time, "sleep", lambda s: None)


@pytest.fixture
def folder(tmp_path):
    """A folder in the Hub's format: two files train, one validates."""
    where = tmp_path / "hub" / "data"
    where.mkdir(parents=True)
    files = {"train-00000-of-00002": TRAIN[:20], "train-00001-of-00002": TRAIN[20:], "validation-00000-of-00001": VAL}
    for name, texts in files.items():
        pq.write_table(pa.table({"body": texts, "id": list(range(len(texts)))}), where / f"{name}.parquet")
    return where.parent


@pytest.fixture
def build(tmp_path):
    def make(path, **keys) -> HfDataModule:
        given = {"text_column": "body", "seq_len": 8, "batch_size": 2, "cache_dir": str(tmp_path / "cache")}
        module = HfDataModule(tokenizer=ByteTokenizer(), path=str(path), **{**given, **keys})
        module.prepare()
        return module

    return make


def text_of(module, side: str) -> str:
    tokens = getattr(module.folder, side)
    return module.tokenizer.decode(next(iter(tokens.scan())))


def joined(texts) -> str:
    return "".join(text + "<|endoftext|>" for text in texts)


def test_a_folder_in_the_hubs_format(folder, build):
    module = build(folder, val_split="validation")
    assert text_of(module, "train") == joined(TRAIN)
    assert text_of(module, "val") == joined(VAL)
    again = build(folder, val_split="validation")
    assert again.folder.path == module.folder.path


def test_rows_can_be_pieces_of_one_text(folder, build):
    module = build(folder, val_split="validation", join_rows=True)
    assert text_of(module, "val") == "".join(VAL) + "<|endoftext|>"


def test_what_save_to_disk_wrote(tmp_path, build):
    from datasets import Dataset, DatasetDict

    sides = {"train": Dataset.from_dict({"body": TRAIN}), "validation": Dataset.from_dict({"body": VAL})}
    DatasetDict(sides).save_to_disk(str(tmp_path / "saved"))
    module = build(tmp_path / "saved", val_split="validation")
    assert text_of(module, "val") == joined(VAL)
    with pytest.raises(RequestError, match="Unknown split 'test'; there are train, validation"):
        build(tmp_path / "saved", val_split="test")
    (tmp_path / "saved/train/state.json").write_text("{}")
    with pytest.raises(RequestError, match=r"is damaged: not as Dataset\.save_to_disk writes it"):
        build(tmp_path / "saved", val_split="validation")


def test_a_split_that_is_not_there_or_the_same_is_refused(tmp_path, build):
    from datasets import Dataset

    Dataset.from_dict({"body": TRAIN}).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(RequestError, match="Unknown split 'test'; it is one data set without splits"):
        build(tmp_path / "saved", val_split="test")
    with pytest.raises(RequestError, match="validates on what it trains on"):
        build(tmp_path / "saved", val_split="train")


def test_what_has_no_effect_is_named(folder, build):
    ignored = build(folder, revision="abc", shuffle_buffer=7, val_documents=8, sample_documents=9).ignored
    keys = [name for name in ignored if name.startswith("data.")]
    assert keys == [
        "data.shuffle_buffer=7, without data.streaming=true",
        "data.val_documents=8, without data.streaming=true",
        "data.sample_documents=9, without data.streaming=true",
        "data.revision=abc, as data.path is no id on the Hub",
    ]
    file = folder / "data" / "train-00000-of-00002.parquet"
    assert "data.split=test, as data.path names files" in build(file, split="test").ignored
    with pytest.raises(RequestError, match=r"data\.join_rows=true is for the Hub"):
        build(file, join_rows=True)


def test_a_folder_as_a_stream(folder, build):
    module = build(folder, val_split="validation", streaming=True, shuffle_buffer=1, sampling="sequential")
    assert text_of(module, "val") == joined(VAL)
    micros = [next(iter(module.train_dataloader()))[0]]
    assert module.tokenizer.decode(micros[0]["ids"][0].tolist()) == joined(TRAIN)[:8]
    stream = HubStream(HubData(str(folder), None, "train", None, "body"))
    assert stream.n_shards == 2
    assert list(stream.open(1, 3)) == TRAIN[23:]


def test_N9_loader_workers_share_out_a_folder(folder, build):
    """`datasets` divides files among a loader's workers by itself: not on top of our division."""
    keys = {"val_split": "validation", "streaming": True, "sampling": "sequential", "workers": 2, "batch_size": 1}
    module = build(folder, **keys, seq_len=8)
    loader = iter(module.train_dataloader())
    texts = ["", ""]
    for step in range(2 * 40):
        texts[step % 2] += module.tokenizer.decode(next(loader)[0]["ids"][0].tolist())
    assert texts[0].startswith(joined(TRAIN[:10]))
    assert texts[1].startswith(joined(TRAIN[20:]))


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.arrow", "a.parquet"])
def test_plain_files(name, tmp_path, build):
    path, table = tmp_path / name, pa.table({"body": TRAIN})
    if name.endswith("jsonl"):
        path.write_text("".join(json.dumps({"body": text}) + "\n" for text in TRAIN))
    elif name.endswith("csv"):
        path.write_text("id,body\n" + "".join(f'{i},"{text}"\n' for i, text in enumerate(TRAIN)))
    elif name.endswith("arrow"):
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, table.schema) as writer:
            writer.write_table(table)
    else:
        pq.write_table(table, path)
    module = build(path, val_fraction=0.2)
    found = text_of(module, "train").split("<|endoftext|>") + text_of(module, "val").split("<|endoftext|>")
    assert sorted(filter(None, found)) == sorted(TRAIN)


def test_N11_a_pinned_set_needs_no_network_once_its_tokens_are_there(folder, build, monkeypatch):
    loaded = []

    def load(self, *, streaming):
        import datasets

        loaded.append(self.path)
        return datasets.load_dataset(str(folder), split=self.split)

    monkeypatch.setattr(HubData, "load", load)
    first = build("owner/name", revision="a" * 40, val_split="validation")
    assert len(loaded) == 2
    assert build("owner/name", revision="a" * 40, val_split="validation").fingerprint == first.fingerprint
    assert len(loaded) == 2
    assert build("owner/name", revision="b" * 40, val_split="validation").folder.path != first.folder.path


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"text_column": "text"}, r"no column 'text'; there are 'body', 'id'"),
        ({"text_column": "id"}, "'id' should be text, found int"),
        ({"split": "test"}, r"split=test\) cannot be used: Unknown split"),
        ({"name": "xl"}, r"name=xl.* cannot be used: BuilderConfig 'xl' not found"),
    ],
    ids=str,
)
def test_what_a_folder_has_not(keys, words, folder, build):
    with pytest.raises(RequestError, match=words):
        build(folder, **keys)


def test_a_damaged_file_of_a_folder(folder, build):
    path = folder / "data" / "train-00000-of-00002.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(RequestError, match="cannot be used"):
        build(folder)


class HubError(Exception):
    def __init__(self, words: str, status: int | None = None):
        super().__init__(words)
        self.response = None if status is None else type("Response", (), {"status_code": status})()


class DatasetNotFoundError(HubError):
    pass


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (
            DatasetNotFoundError("Dataset 'x/y' doesn't exist on the Hub or cannot be accessed."),
            RequestError,
            "no such",
        ),
        (
            DatasetNotFoundError("Dataset 'x/y' is a gated dataset on the Hub."),
            RequestError,
            "(?s)gated.*hf auth login",
        ),
        (DatasetNotFoundError("Revision 'r' doesn't exist for dataset 'x/y'"), RequestError, "no revision r"),
        (RuntimeError("Dataset scripts are no longer supported, but found y.py"), RequestError, "refs/convert/parquet"),
        (HubError("Forbidden", 403), RequestError, "gated"),
        (ConnectionError("Couldn't reach 'x/y' on the Hub"), RunError, "not in the cache here"),
        (OSError("Verification of flatbuffer-encoded Footer failed."), RequestError, "cannot be used: Verification of"),
        (ValueError("Unknown split 'z'"), RequestError, "cannot be used: Unknown split 'z'"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_the_hub_says_in_plain_words(error, kind, words):
    found = explained(error, HubData("x/y", None, "train", "r", "text"))
    assert isinstance(found, kind)
    with pytest.raises(kind, match=words):
        raise found


@pytest.mark.parametrize("path", ["../x", "/no/such", "~/x", "a/b/c", "-", "a b/c"])
def test_what_cannot_be_a_name_is_not_asked_for(path):
    """Without a network it was a failed run, "the Hub cannot be reached", and not a wrong request."""
    with pytest.raises(RequestError, match="there is no such folder here"):
        HubData(path, None, "train", None, "text").load(streaming=False)


def test_a_bug_is_not_hidden():
    bug = ZeroDivisionError("division by zero")
    assert explained(bug, HubData("x/y", None, "train", None, "text")) is bug


def test_a_lost_connection_is_waited_for_and_nothing_comes_twice():
    opened = []

    def open_at(skip):
        opened.append(skip)
        for i in range(skip, 10):
            if i == 4 and len(opened) < 3:
                raise ConnectionError("reset")
            yield i

    assert list(resuming(open_at, 2, "reading x")) == list(range(2, 10))
    assert opened == [2, 4, 4]


def test_enough_is_enough():
    def always():
        raise HubError("busy", 503)

    with pytest.raises(RunError, match="reading x failed 3 times, the last time with: busy"):
        with_retries(always, "reading x", tries=3)
    with pytest.raises(FileNotFoundError):
        with_retries(lambda: os.stat("/nowhere"), "x")


def test_the_fingerprint_follows_what_is_asked_for(folder):
    def fingerprint(**keys):
        given = {"path": str(folder), "config": None, "split": "train", "revision": None, "text_column": "body"}
        return HubSource(HubData(**{**given, **keys})).fingerprint()

    assert fingerprint() == fingerprint()
    assert len({fingerprint(), fingerprint(split="validation"), fingerprint(text_column="id")}) == 3


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.parquet", "hub"])
def test_F4_a_stream_counts_its_columns_once_though_both_sides_read_its_rows(name, tmp_path, build):
    rows = [{"body": text, "source": "web"} for text in TRAIN]
    path = tmp_path / ("hub" if name == "hub" else "plain")
    path.mkdir()
    if name == "a.jsonl":
        (path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    elif name == "a.csv":
        (path / name).write_text("body,source\n" + "".join(f'"{text}",web\n' for text in TRAIN))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path / "train-00000-of-00001.parquet")
    given = path if name == "hub" else next(path.iterdir())
    module = build(given, streaming=True, shuffle_buffer=1, val_documents=3, sample_documents=5)
    read = len(TRAIN) if name == "hub" else 8  # from the Hub rows come 64 at once
    assert module.ignored == {"column 'source'": read}
    again = build(given, streaming=True, shuffle_buffer=1, val_documents=3, sample_documents=5)
    assert again.ignored == module.ignored


def test_a_stream_of_numbers_is_refused_as_a_download_is(tmp_path, build):
    (tmp_path / "hub").mkdir()
    pq.write_table(pa.table({"body": list(range(20))}), tmp_path / "hub/train-00000-of-00001.parquet")
    with pytest.raises(RequestError, match="'body' should be text, found int"):
        build(tmp_path / "hub", streaming=True, shuffle_buffer=1)
