"""experiment=crawl_to_model: the four commands of its file, run on a local site, from a web page to generated text."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from launcher.lab import Lab
from tests.crawl.helpers import FAST, ROOT, documents, manifest
from tests.crawl.site import Site, tree

FILE = ROOT / "conf" / "experiment" / "crawl_to_model.yaml"
GROUPS = Lab(ROOT).groups
TOKENIZERS = [name for name in ("byte", "bpe", "sentencepiece") if name in GROUPS["tokenizer"]]
SMALL = [
    *("model.n_layer=1", "model.n_embd=32", "model.n_head=2", "model.seq_len=32", "data.batch_size=2", "hardware=cpu"),
    *("trainer.max_steps=4", "trainer.val_every=4", "logger=csv", "callbacks.sample_text.max_new_tokens=8"),
]


def commands() -> dict[str, list[str]]:
    """What the file tells one to type, by task."""
    lines = re.findall(r"^#   python run\.py (.*)$", FILE.read_text("utf-8"), re.M)
    words = [shlex.split(line) for line in lines]
    return {next((w[5:] for w in line if w.startswith("task=")), "fit"): line for line in words}


def run(words: list[str], folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *words], cwd=folder, capture_output=True, text=True, timeout=250
    )
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_there_are_four_commands() -> None:
    assert list(commands()) == ["crawl", "prepare", "fit", "generate"]


@pytest.fixture(scope="module")
def crawled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the first command has been typed, for a site on loopback."""
    folder = tmp_path_factory.mktemp("to-model")
    with Site() as site:
        site.fallback = tree(30)
        words = [word.replace("https://docs.example.org", f"{site.url}/page/0") for word in commands()["crawl"]]
        run([*words, *(f"crawl.{word}" for word in FAST if not word.startswith("contact"))], folder)
    return folder


@pytest.mark.timeout(900)
@pytest.mark.slow
@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_from_a_site_to_generated_text(crawled: Path, tokenizer: str) -> None:
    found = manifest(crawled / "outputs/crawl/docs")
    assert found["kept"] == len(documents(crawled / "outputs/crawl/docs")) == 30
    chosen = [f"tokenizer={tokenizer}", *(["tokenizer.vocab_size=400"] if tokenizer != "byte" else [])]
    model = f"outputs/docs-model-{tokenizer}"
    typed = {task: [w.replace("outputs/docs-model", model) for w in words] for task, words in commands().items()}
    if "prepare" in GROUPS["task"]:
        run([*typed["prepare"], *chosen], crawled)
    run([*typed["fit"], *chosen, *SMALL], crawled)
    summary = json.loads((crawled / model / "summary.json").read_text("utf-8"))
    assert (summary["status"], summary["data"], summary["step"]) == ("finished", "crawl", 4)
    assert summary["metrics"]["val/bpb"] > 0
    text = run([*typed["generate"], "max_new_tokens=20", "hardware=cpu"], crawled)
    assert "The " in text


def test_what_a_crawl_leaves_for_the_launcher(crawled: Path) -> None:
    summary = json.loads((crawled / "outputs/crawl/docs/summary.json").read_text("utf-8"))
    assert (summary["status"], summary["task"]) == ("finished", "crawl")
    log = (crawled / "outputs/crawl/docs/run.log").read_text("utf-8")
    assert len(log) < 5000, "no page, and no debug line of a library, is in the log"


@pytest.mark.slow
def test_a_larger_budget_goes_on(tmp_path: Path) -> None:
    """resume= with run.py; what is no budget cannot be changed."""
    fast = [f"crawl.{word}" for word in FAST]
    with Site() as site:
        site.fallback = tree(12)
        words = ["task=crawl", f"crawl.start_urls=[{site.url}/page/0]", *fast, f"run_dir={tmp_path / 'run'}"]
        run([*words, "crawl.max_pages=5"], tmp_path)
        assert manifest(tmp_path / "run")["fetched"] == 5
        run([f"resume={tmp_path / 'run'}", "crawl.max_pages=100"], tmp_path)
    assert manifest(tmp_path / "run")["fetched"] == 12
    line = [sys.executable, str(ROOT / "run.py"), f"resume={tmp_path / 'run'}", "crawl.max_depth=2"]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "crawl.max_pages=... or crawl.max_bytes" in done.stderr
