"""What the cases start from: files of each kind, and small runs, exports and token files that the program made."""

import contextlib
import gzip
import json
import os
import sys
from pathlib import Path

from forked import ROOT

import folders

TEXT = "The cat sat on the mat and ate the rat. Then it slept.\n"
ROWS = ("tokenizer=byte", "data.val_fraction=0.3")
BPE = ("tokenizer=bpe_small", "tokenizer.vocab_size=280")
MODEL = ("model.n_layer=1", "model.n_head=2", "model.n_embd=16", "model.seq_len=32")
SHORT = (
    *("hardware=cpu", "trainer.max_steps=2", "trainer.val_every=1", "trainer.checkpoint_every=1"),
    *("trainer.log_every=1", "data.batch_size=2", "logger=csv", "callbacks=minimal"),
)
ON_TEXT = ("data=text", "data.path=text.txt", "data.cache_dir=cache", "data.prepare_workers=0")
STAGES = ("gbft.stages=1", "gbft.steps_per_stage=2", "gbft.base_steps=2", "learner=bias", "gbft.cache=none")
BOOSTED = tuple(word for word in SHORT if not word.startswith("trainer.")) + STAGES
# what is trained, beside its folder
RUNS: dict[str, tuple[str, ...]] = {
    "gpt": (*MODEL, *SHORT, *ON_TEXT),
    "llama": ("model=llama", *MODEL, "model.n_kv_head=1", "model.n_inner=32", *SHORT, *ON_TEXT, *BPE),
    "moe": ("model=moe", *MODEL, "model.n_kv_head=1", "model.moe.n_experts=2", "model.moe.ff=16", *SHORT, *ON_TEXT),
    "sft": ("objective=sft", *MODEL, *SHORT, "data=chat", "data.path=chat.jsonl", *ROWS),
    "dpo": (
        "objective=dpo",
        "objective.sft_steps=2",
        *MODEL,
        *SHORT,
        "data=preference",
        "data.path=pairs.jsonl",
        *ROWS,
    ),
    "kto": ("objective=kto", "init_from=runs/sft", *SHORT, "data=preference_labels", "data.path=labels.jsonl", *ROWS),
    "reward": (
        "objective=reward",
        "objective.sft_steps=2",
        *MODEL,
        *SHORT,
        "data=preference",
        "data.path=pairs.jsonl",
        *ROWS,
    ),
    "gbft": ("objective=gbft", *MODEL, *BOOSTED, *ON_TEXT, "data.sampling=shuffle"),
    "lora": ("adapter=lora", "init_from=runs/gpt", *SHORT, *ON_TEXT),
    "grpo": (
        *("objective=grpo", *MODEL[:3], "model.seq_len=128", *SHORT, "tokenizer=byte", "callbacks=rl"),
        *("data.pairs=8", "data.val_pairs=4", "data.max_steps=1", "objective.sft_steps=2", "objective.checks=warn"),
        *("objective.prompts=2", "objective.group=2", "objective.max_new_tokens=4", "objective.val_prompts=2"),
        *("objective.val_group=2", "objective.truncated=rule", "callbacks.exact_match.questions=2"),
        *("reward=format", "reward.format.pattern=[0-9]"),
    ),
    "verifier": (
        *("objective=verifier", *MODEL[:3], "model.seq_len=512", *SHORT, "tokenizer=byte", "objective.sft_steps=2"),
        *("data.pairs=8", "data.val_pairs=4"),
    ),
    "t5": ("model=t5", "objective=span_corruption", *MODEL, "model.n_inner=32", *SHORT, *ON_TEXT),
}
TEMPLATE = "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}"


def rows(name: str) -> list[dict]:
    """Forty rows of a kind of data."""
    made = {
        "texts": lambda i: {"text": f"Row {i}. " + TEXT * (1 + i % 3), "id": i},
        "chat": lambda i: {
            "messages": [{"role": "user", "content": f"{i} + 1?"}, {"role": "assistant", "content": f"It is {i + 1}."}]
        },
        "alpaca": lambda i: {"instruction": f"Say {i}", "input": "", "output": f"{i}"},
        "pairs": lambda i: {"prompt": f"Say {i}: ", "chosen": f"{i} it is", "rejected": "no"},
        "labels": lambda i: {"prompt": f"Say {i}: ", "completion": f"{i} it is", "label": i % 2 == 0},
        "problems": lambda i: {"question": f"{i} and {i}?", "answer": f"Both are\n#### {2 * i}", "id": i},
    }[name]
    return [made(i) for i in range(40)]


def jsonl(of: list[dict]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in of).encode()


def write_files(folder: Path) -> None:
    """Data as people have it, in every format that is read."""
    import pyarrow as pa
    import pyarrow.feather
    import pyarrow.parquet

    (folder / "text.txt").write_text(TEXT * 150)
    (folder / "text.txt.gz").write_bytes(gzip.compress((TEXT * 150).encode()))
    with pa.output_stream(str(folder / "text.txt.zst"), compression="zstd") as stream:
        stream.write((TEXT * 150).encode())
    for name in ("texts", "chat", "alpaca", "pairs", "labels", "problems"):
        (folder / f"{name}.jsonl").write_bytes(jsonl(rows(name)))
        (folder / f"{name}.json").write_text(json.dumps(rows(name)))
        table = pa.Table.from_pylist(rows(name))
        pa.parquet.write_table(table, folder / f"{name}.parquet")
        if name == "texts":
            pa.feather.write_feather(table, folder / f"{name}.arrow", compression="uncompressed")
    for name in ("texts", "alpaca", "pairs", "labels", "problems"):
        head = list(rows(name)[0])
        lines = [head, *([str(row[key]).replace("\n", " ") for key in head] for row in rows(name))]
        (folder / f"{name}.csv").write_text("".join(",".join(line) + "\n" for line in lines))
        (folder / f"{name}.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    _write_corpus(folder / "crawled")
    _write_mine(folder / "mine")


def _write_corpus(folder: Path) -> None:
    """As task=crawl leaves it."""
    folder.mkdir()
    documents = [
        {"url": f"http://site{i % 12}.org/{i}", "title": "x", "text": TEXT * 9, "sha256": f"{i:064x}", "language": "en"}
        for i in range(40)
    ]
    (folder / "documents-00000.jsonl").write_bytes(jsonl(documents))
    counts = {"fetched": 40, "kept": 40, "dropped": {}, "failed": {}, "settings": {}, "versions": {}}
    (folder / "manifest.json").write_text(json.dumps(counts))
    (folder / "page.warc").write_bytes(
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://a.org/\r\nContent-Type: application/http; "
        b"msgtype=response\r\nWARC-Record-ID: <urn:uuid:00000000-0000-0000-0000-000000000001>\r\nWARC-Date: "
        b"2026-01-01T00:00:00Z\r\nContent-Length: 73\r\n\r\nHTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n"
        b"<html><p>Hello there</p></html>\r\n\r\n\r\n"
    )


def _write_mine(folder: Path) -> None:
    """A folder of the user's, with names that ours have too."""
    (folder / "tokenizer").mkdir(parents=True)
    for name in ("thesis.txt", "train.bin", "meta.json", "metrics.csv", "config.json", "tokenizer/notes.txt"):
        (folder / name).write_text(f"mine: {name}\n")
    (folder / "run.log").write_text("mine\n")


def build(folder: Path, *, only: tuple[str, ...] = ()) -> None:
    """Writes everything below `folder`, or files and `only` these runs; SystemExit where the program itself fails."""
    folder.mkdir()
    os.chdir(folder)
    write_files(folder)
    for name in only or RUNS:
        _do(*RUNS[name], f"run_dir=runs/{name}")
    if only:
        return
    _do("-m", "seed=1,2", *RUNS["gpt"], "run_dir=sweep")
    _do("task=prepare", *ON_TEXT, "data.out=tokens", "run_dir=ptemp")
    for name in ("gpt", "llama", "moe"):
        _do("task=export", f"init_from=runs/{name}", f"export.path=hf/{name}", f"run_dir=etemp-{name}")
    _add_template(Path("hf/llama"))
    _do("task=evaluate", "benchmark=arithmetic", "evaluate.limit=4", "init_from=runs/sft", "run_dir=runs/answers")


def _add_template(folder: Path) -> None:
    (folder / "chat_template.jinja").unlink(missing_ok=True)
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"chat_template": TEMPLATE}))


def _do(*words: str) -> None:
    from launcher.cli import main

    with open("yard.log", "a") as log, contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
        code = main(list(words), root=ROOT)
    found = [word.removeprefix("run_dir=") for word in words if word.startswith("run_dir=")]
    unknown = [name for run in found if run != "sweep" for name in folders.strangers(Path(run), "run")]
    if unknown:
        sys.exit(f"python run.py {' '.join(words)} wrote what folders.MANIFEST does not know: {unknown}")
    if code:
        sys.exit(f"python run.py {' '.join(words)}: exit {code}\n{Path('yard.log').read_text()[-3000:]}")
