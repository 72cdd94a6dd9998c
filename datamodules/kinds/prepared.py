"""What every data module does whose token files are written from documents: where they lie, what is split off, how."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bounds import NonNegativeInt, OpenShare, PositiveInt
from datamodules.kinds.tokens import TokenDataModule
from datamodules.preparing.prepare import prepare_tokens, target_of
from datamodules.preparing.split import passed_over
from datamodules.preparing.token_folder import TokenFolder, open_folder
from datamodules.reading.ignored import Ignored
from datamodules.reading.sources import Source


class PreparedDataModule(TokenDataModule):
    """Documents in, token files out, once; a subclass says which documents (`_sides`)."""

    def __init__(
        self,
        *,
        val_fraction: OpenShare = 0.1,
        cache_dir: str = "outputs/cache",
        out: str | None = None,
        shard_tokens: PositiveInt | None = None,
        prepare_workers: NonNegativeInt | None = None,
        **shared: Any,
    ):
        super().__init__(**shared)
        self.val_fraction, self.cache_dir = val_fraction, Path(cache_dir)
        self.target = target_of(cache_dir, out, shard_tokens, prepare_workers)
        self._passed_over = Ignored()

    def _sides(self) -> tuple[Source, Source | None]:
        """Documents for training and for validation; None: those of training are split by `val_fraction`."""
        raise NotImplementedError

    def _token_folder(self) -> TokenFolder:
        source, val_source = self._sides()
        self._passed_over = passed_over(source) + passed_over(val_source)
        folder, tokenizer = prepare_tokens(
            source=source,
            val_source=val_source,
            tokenizer=self.tokenizer,
            val_fraction=self.val_fraction,
            target=self.target,
        )
        return open_folder(folder, tokenizer, self.cache_dir)

    @property
    def ignored(self) -> dict[str, int]:
        """Rows as `meta.json` says; files as they lie there now, since none of them changes what was prepared."""
        return dict(rows_ignored(self.folder) + self._passed_over) | dict.fromkeys(self._means_nothing(), 1)


def rows_ignored(folder: TokenFolder) -> Ignored:
    """What is not used of the files that were read."""
    return Ignored(folder.meta.get("ignored", {})) - Ignored(folder.meta.get("passed_over", {}))
