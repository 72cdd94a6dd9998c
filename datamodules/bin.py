"""`data=bin`: token files that `task=prepare` wrote, or nanoGPT's train.bin and val.bin, read as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from datamodules.kinds.tokens import TokenDataModule
from datamodules.preparing.token_folder import TokenFolder, open_folder
from datamodules.reading.nanogpt import read_meta_pkl
from errors import RequestError
from tokenization.base import FILE_NAME, Tokenizer, load_tokenizer
from tokenization.char import CharTokenizer


class BinDataModule(TokenDataModule):
    provides = ("tokens",)

    def __init__(self, *, path: str, cache_dir: str = "outputs/cache", **shared: Any):
        super().__init__(**shared)
        self.path, self.cache_dir = Path(path).expanduser(), Path(cache_dir)

    def _token_folder(self) -> TokenFolder:
        if not self.path.is_dir():
            what = "a file" if self.path.exists() else "not there"
            raise RequestError(
                f"data.path={self.path}: {what}; expected a folder with train*.bin and val*.bin.\n"
                "To make one: python run.py task=prepare data=text data.path=<text> data.cache_dir=<folder>"
            )
        return open_folder(self.path, self._trained(), self.cache_dir)

    def _trained(self) -> Tokenizer:
        """The tokenizer in use; an untrained one takes what it lacks from the folder."""
        if self.tokenizer.trained:
            return self.tokenizer
        if (self.path / FILE_NAME).is_file():
            found = load_tokenizer(self.path)
            if found.kind != self.tokenizer.kind:
                raise RequestError(
                    f"{self.path} was made by a {found.kind} tokenizer, not by tokenizer={self.tokenizer.kind}.\n"
                    f"Type tokenizer={found.kind}, or prepare the text again with this one: task=prepare."
                )
            return found
        chars = read_meta_pkl(self.path / "meta.pkl") if isinstance(self.tokenizer, CharTokenizer) else None
        if chars is None:
            raise RequestError(
                f"data.path={self.path} holds no {FILE_NAME}, and tokenizer={self.tokenizer.kind} has no vocabulary.\n"
                "Type tokenizer=<the one that made these files>, or init_from=<a run folder> that has it."
            )
        return CharTokenizer(specials=list(self.tokenizer.special_names), chars=chars)
