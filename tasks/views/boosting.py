"""inspect.view=boosting: what each stage of an ensemble does, on one page in the run folder."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from torch import Tensor

from errors import RequestError
from evaluation.boosting import by_category, by_stage, measure
from evaluation.boosting_moves import moves
from evaluation.boosting_page import example_places, page
from evaluation.boosting_stopping import UNITS, costs_of, stopping
from launcher.jobs.run_folder import RunFolder
from launcher.jobs.summary import plain
from lightning_modules.pairs import chosen_rows
from models.boosting.ensemble import Boosted
from models.weights.loading import load_weights
from strict_json import object_in
from tasks import parts
from tasks.hardware.choice import given_back
from tasks.hardware.reading import settle_reading

READS = ()  # of the keys of `inspect`

MAX_TOKENS = 100_000  # of the validation side; more tell little more and weigh on the page


@given_back()
def show(cfg: DictConfig, run: RunFolder) -> None:
    """Prints the stages and writes boosting.html and boosting.json.

    Raises:
        RequestError: `init_from` names no run of objective=gbft.
    """
    if not cfg.init_from or cfg.get("gbft") is None:
        raise RequestError("inspect.view=boosting looks at stages: type init_from=<a run folder of objective=gbft>.")
    data = parts.build_data(cfg)
    model = parts.language_model(cfg, vocab_size=data.tokenizer.vocab_size)
    load_weights(model, cfg.init_from)
    assert isinstance(model, Boosted)
    settle_reading(cfg, model)
    windows, pairs = data.val_dataset(), "pairs" in data.provides
    if pairs:
        print("  of each pair the chosen answer is looked at")

    def batches() -> Iterator[dict[str, Tensor]]:
        return (chosen_rows(windows[i]) if pairs else windows[i] for i in range(len(windows)))

    text = data.tokenizer.texts_of_ids()

    def decode(ids: list[int]) -> str:
        return text(ids[0]) if len(ids) == 1 else data.tokenizer.decode(ids)

    found = measure(model.to(parts.torch_device(cfg)), batches(), max_tokens=MAX_TOKENS)
    token_bytes = data.tokenizer.token_bytes()
    stages = by_stage(found, token_bytes, seed=cfg.seed)
    title, records = f"Stages of {cfg.init_from}", records_of(cfg.init_from)
    moved = moves(model, batches(), found, example_places(found))
    costs = costs_of(model, data.seq_len)
    stops = {unit: stopping(found, costs, unit=unit, seed=cfg.seed) for unit in UNITS}
    html = page(found, token_bytes, decode, title=title, records=records, moved=moved, stops=stops)
    (run.path / "boosting.html").write_text(html, encoding="utf-8")
    kinds = by_category(found, text)
    report = {"stages": stages, "categories": kinds, "cosines": found.cosine_MM.tolist(), "stopping": stops}
    (run.path / "boosting.json").write_text(json.dumps(plain(report), indent=1) + "\n", encoding="utf-8")
    for row in stages:
        gain = f"   gain {row['gain'].value:+.4f}" if "gain" in row else ""
        print(f"  stage {row['stage']}   loss {row['loss'].value:.4f}{gain}")
    print(f"page: {run.path / 'boosting.html'}")


def records_of(source: str) -> list[dict[str, Any]] | None:
    """The table of stages of a run's summary.json, if it is there."""
    try:
        found = object_in(Path(source).expanduser() / "summary.json").get("stages")
    except (OSError, ValueError, RecursionError):
        return None
    return found if isinstance(found, list) and all(isinstance(row, dict) and "stage" in row for row in found) else None
