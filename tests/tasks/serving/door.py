"""A server in this process, over tiny random models: `with Door(tmp_path) as door`, then ask `door.url`."""

import asyncio
import json
import threading
from pathlib import Path
from types import SimpleNamespace

import torch

from models.continuous import Continuous
from models.gpt import GPT
from tasks.serving.runs import Runs
from tasks.serving.server import listen, run_until_stopped
from tasks.serving.shelf import Loaded, Shelf
from tokenization.byte import ByteTokenizer
from tokenization.chat import chat_template


def loaded(name: str, *, talks: bool = True, seq_len: int = 64, seed: int = 0, **sizes) -> Loaded:
    """A random model over bytes, far from uniform; it talks, or it continues texts."""
    torch.manual_seed(seed)
    turns, tokenizer = chat_template(ByteTokenizer()) if talks else (None, ByteTokenizer())
    sizes = {"n_layer": 2, "n_head": 2, "n_embd": 16} | sizes
    model = GPT(vocab_size=tokenizer.vocab_size, seq_len=seq_len, **sizes).requires_grad_(False).eval()
    torch.nn.init.normal_(model.embed.weight, std=0.4)
    return Loaded(name, model, tokenizer, turns, Continuous(model))


def run_folder(root: Path, name: str, *, metrics: str = "step,tokens_seen,val/bpb\n1,10,5\n2,20,4\n", lr: float = 0.1):
    """What lies on disk of a run, as far as lists and curves look at it."""
    folder = root / name
    (folder / ".hydra").mkdir(parents=True)
    (folder / ".hydra/config.yaml").write_text(f"optimizer:\n  lr: {lr}\nseed: 1\n")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints/last.ckpt").write_bytes(b"")
    (folder / "metrics.csv").write_text(metrics)
    summary = {"status": "finished", "task": "fit", "model": "gpt", "objective": "sft", "metrics": {"val/bpb": 4.0}}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


class Door:
    """Args: of the section `serve`; `make`: the model of a name."""

    def __init__(
        self, root: Path, *, make=loaded, token=None, rows=8, waiting=64, max_new_tokens=200, loaded_at_once=2
    ):
        self.root, self.make, self.token, self.most = root, make, token, loaded_at_once
        self.section = SimpleNamespace(rows=rows, waiting=waiting, max_new_tokens=max_new_tokens)
        self.stopped, self.ended = threading.Event(), None
        self.shelf = self.runs = None

    def __enter__(self) -> "Door":
        ready = threading.Event()
        self.thread = threading.Thread(target=self._serve, args=(ready,), daemon=True)
        self.thread.start()
        assert ready.wait(30)
        return self

    def __exit__(self, *_) -> None:
        self.stopped.set()
        self.thread.join(30)
        assert not self.thread.is_alive()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _serve(self, ready: threading.Event) -> None:
        def load(name, place):
            return self.make(name)

        self.runs = Runs(self.root, first=None, loads=load)
        self.shelf = Shelf(self.runs.servable, load, most=self.most, resolve=self.runs.resolve)
        with listen("127.0.0.1", 0) as door:
            self.port = door.getsockname()[1]
            ready.set()
            asyncio.run(
                run_until_stopped(
                    door, self.shelf, self.runs, token=self.token, section=self.section, stopped=self.stopped.is_set
                )
            )
