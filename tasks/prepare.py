"""task=prepare: text -> tokenizer -> token files, and the data card that says what is in them."""

import json
import logging
from contextlib import suppress
from typing import Any

from omegaconf import DictConfig

from commands import hydra_text, run_py
from datamodules.preparing.card import data_card, show
from errors import RequestError
from launcher.jobs.run_folder import RunFolder
from tasks import parts

# of the keys and sections that every config has (launcher/config/reads.py)
READS = ("data", "tokenizer", "objective", "model", "init_from", "init")

log = logging.getLogger(__name__)


def prepare(cfg: DictConfig, run: RunFolder) -> None:
    """Writes token files, or finds them, and prints the card, which lies in the run folder and beside the files."""
    data = parts.build_data(cfg)
    folder = getattr(data, "folder", None)
    if folder is None:
        raise RequestError(
            "task=prepare writes token files, and this data has none: it is made when it is needed.\n"
            "Type task=inspect to see what the model will see."
        )
    card = data_card(folder, data.ignored)
    words = show(card)
    data.tokenizer.save(run.path / "tokenizer")
    (run.path / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (run.path / "card.txt").write_text(words, encoding="utf-8")
    sources = getattr(data, "folders", None)  # of a mixture, each in a folder of its own
    if sources is None and "key" in folder.meta:  # else nanoGPT's, or somebody's copy: not ours to write into
        with suppress(OSError):
            (folder.path / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    run.results |= {
        "ignored": data.ignored,
        "data_fingerprint": data.fingerprint,
        "tokenizer_fingerprint": data.tokenizer.fingerprint,
        "data_card": {key: card[key] for key in ("train", "val", "ignored", "overlap", "round_trip")},
    }
    print(words)
    print(where_to_go_on(data, {"": folder.path} if sources is None else {n: f.path for n, f in sources.items()}))


def where_to_go_on(data: Any, folders: dict[str, Any]) -> str:
    """Where the files lie and the command that trains on them; of a stream they are a sample."""
    tokenizer = f"tokenizer={data.tokenizer.kind}"
    if getattr(data, "streaming", False):
        return f"in {folders['']}: a sample, for the card, the tokenizer and validation; training reads the stream"
    if list(folders) == [""]:
        command = run_py("data=bin", f"data.path={folders['']}", tokenizer)
        return f"token files in {folders['']}\n  train on them  {command}"
    lines = [f"token files of {name} in {where}" for name, where in folders.items()]
    paths = ", ".join(f"{name}: {hydra_text(where)}" for name, where in folders.items())
    command = run_py("data=mixture", f"data.paths={{{paths}}}", tokenizer)
    return "\n".join([*lines, f"  train on them  {command}"])
