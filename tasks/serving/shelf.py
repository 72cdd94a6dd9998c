"""The runs that can be asked, by name; those in use are loaded, the longest unused makes room."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from errors import RequestError
from models.base import LanguageModel
from models.continuous import Continuous
from tasks.guiding.grammar import Vocabulary
from tokenization.base import Tokenizer
from tokenization.chat import ChatTemplate


class UnknownRunError(RequestError):
    """No run has this name."""


@dataclass(eq=False)
class Loaded:
    """A run that answers. `turns`: how conversations look to it; None: it was not trained on any."""

    name: str
    model: LanguageModel
    tokenizer: Tokenizer
    turns: ChatTemplate | None
    batch: Continuous

    @cached_property
    def vocabulary(self) -> Vocabulary:
        """For answers that follow a schema; made once, a second for 50,000 ids.

        Raises:
            RequestError: llguidance is not installed, or the tokenizer cannot be guided.
        """
        assert self.turns is not None
        return Vocabulary(self.tokenizer, self.turns.end)

    @cached_property
    def pieces(self) -> list[bytes | None]:
        """What each id writes, with the blank that it begins with; see Tokenizer.pieces."""
        return self.tokenizer.pieces()

    @property
    def many_turns(self) -> bool:
        """False where it knows one question and one answer."""
        return self.turns is not None and not hasattr(self.turns, "style")


class Shelf:
    """Args:
    names: the runs that can be asked, the one that is asked where none is named first.
    load: makes a run's `Loaded` from its name and place. most: runs that are loaded at once.
    resolve: other names of a run, such as `last`.
    """

    def __init__(
        self, names: Callable[[], Mapping[str, Path | None]], load: Callable[[str, Path | None], Loaded], *, most: int,
        resolve: Callable[[str], str] = str,
    ):  # fmt: skip
        self.names, self.load, self.most, self.resolve = names, load, most, resolve
        self.loaded: dict[str, Loaded] = {}  # the latest used last
        self.turn = asyncio.Lock()
        self.in_use: Callable[[], set[Continuous]] = set

    async def get(self, name: str | None) -> Loaded:
        """Raises UnknownRunError, or RequestError where the run cannot be read."""
        names = await asyncio.to_thread(self.names)
        if not names:
            raise UnknownRunError("there is no run with a checkpoint yet: train one, or start with init_from=RUN")
        name = next(iter(names)) if name is None else self.resolve(name)
        if name not in names:
            raise UnknownRunError(f"the model {name[:200]!r} does not exist: /v1/models lists those that do")
        async with self.turn:
            if name not in self.loaded:
                self._make_room()
                self.loaded[name] = await asyncio.to_thread(self.load, name, names[name])
            self.loaded[name] = self.loaded.pop(name)
            return self.loaded[name]

    def _make_room(self) -> None:
        used = self.in_use()
        for name in [n for n, run in self.loaded.items() if run.batch not in used]:
            if len(self.loaded) < self.most:
                return
            del self.loaded[name]

    def facts(self, name: str) -> dict[str, Any]:
        """What is known of a run without loading it for this."""
        run = self.loaded.get(name)
        return {} if run is None else {"context": run.model.seq_len, "chat": run.turns is not None}
