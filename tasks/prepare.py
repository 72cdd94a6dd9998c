"""task=prepare: text -> tokenizer -> token files, and the data card that says what is in them."""

import json
import logging
import shlex
from contextlib import suppress
from typing import Any

from omegaconf import DictConfig

from datamodules.card import data_card, show
from errors import RequestError
from tasks import parts

log = logging.getLogger(__name__)


def prepare(cfg: DictConfig, run: Any) -> None:
    """Writes token files, or finds them, and prints the card; it lies in the run folder and beside the files."""
    data = parts.build_data(cfg)
    folder = getattr(data, "folder", None)
    if folder is None:
        raise RequestError(
            "task=prepare writes token files, and this data has none: it is made when it is needed.\n"
            "Type task=inspect to see what the model will see."
        )
    card = data_card(folder)
    words = show(card)
    data.tokenizer.save(run.path / "tokenizer")
    (run.path / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    (run.path / "card.txt").write_text(words, encoding="utf-8")
    with suppress(OSError):  # somebody else's folder, perhaps
        (folder.path / "card.json").write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    run.results |= {
        "data_fingerprint": data.fingerprint,
        "tokenizer_fingerprint": data.tokenizer.fingerprint,
        "data_card": {key: card[key] for key in ("train", "val", "overlap", "round_trip")},
    }
    print(words)
    where = shlex.quote(str(folder.path))
    print(f"token files in {folder.path}")
    print(f"  train on them  python run.py data=bin data.path={where} tokenizer={data.tokenizer.kind}")
