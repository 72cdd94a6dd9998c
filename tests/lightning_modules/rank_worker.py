"""One rank of tests/lightning_modules/test_ranks.py: trains 6 updates, resumes for 2 more, writes what it saw.

RANK=0 WORLD_SIZE=2 ... python rank_worker.py <strategy> <folder> <corpus>
"""

import json
import os
import sys
from pathlib import Path

import torch

from batch import IGNORE
from datamodules.text import TextDataModule
from tasks.trainer import leave_process_group
from tests.small import SEQ_LEN, RandomTokens, make_module, make_trainer, micro
from tokenization.byte import ByteTokenizer


def ragged_share(step: int, rank: int, world: int) -> list[dict[str, torch.Tensor]]:
    """Four micro-batches per update, shared out over ranks: 16 supervised tokens in one, 1 in another."""
    rows = [micro(step, i) for i in range(4)]
    for i, row in enumerate(rows):
        keep = [16, 1, 5, 3][i]
        targets = row["targets"].flatten().clone()
        targets[keep:] = IGNORE
        row["targets"] = targets.view(2, SEQ_LEN)
    return rows[rank::world]


def main(strategy: str, folder: Path, corpus: str) -> None:
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    text = TextDataModule(
        tokenizer=ByteTokenizer(), path=corpus, val_path=None, text_column="text", separator=None, url=None,
        val_fraction=0.1, cache_dir=str(folder / "cache"), seq_len=SEQ_LEN, batch_size=2, val_batch_size=None,
        stride=None, sampling="random", doc_mask=False, workers=0, seed=0,
    )  # fmt: skip
    text.prepare()
    text.rank, text.world_size = rank, world
    facts = {}
    for name, steps in (("first", 6), ("resumed", 8)):
        module = make_module(vocab_size=text.tokenizer.vocab_size)
        data = RandomTokens(lambda step: ragged_share(step, rank, world))
        data.val_dataloader = text.val_dataloader
        trainer = make_trainer(folder, max_steps=steps, strategy=strategy, val_every=3)
        last = folder / "checkpoints/last.ckpt"
        trainer.fit(module, data, ckpt_path=last if name == "resumed" else None, weights_only=True)
        facts[name] = (
            module.measured.train
            | module.measured.val
            | {"tokens_seen": module.measured.tokens_seen, "drawn": data.drawn}
        )
    (folder / f"rank{rank}.json").write_text(json.dumps(facts))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), sys.argv[3])
    leave_process_group()
