"""Prompts that were read lately, so that the next one that begins like them does not read that again (serving)."""

from collections.abc import Sequence

from models.windows import SHARED, Windows, common

MOST_BYTES = 2**28  # of keys and values


class Remembered:
    """The latest prompts of one model, each with its keys and values; the oldest make room."""

    def __init__(self, most_bytes: int = MOST_BYTES):
        self.most_bytes = most_bytes
        self.windows: list[Windows] = []

    def like(self, prompt: Sequence[int]) -> Windows | None:
        """A copy of the one that has most in common with a prompt, if that is enough to be of use."""
        shared = [common([made.ids[0], prompt]) for made in self.windows]
        if not shared or max(shared) < SHARED:
            return None
        return self.windows[shared.index(max(shared))].row(0)

    def add(self, made: Windows) -> None:
        """Takes a copy of the first row, which has been read whole; what it goes on from need not be kept."""
        if not made.use_cache or made.model.encodes_source or made.used[0] < SHARED:
            return
        row = made.row(0)
        self.windows = [old for old in self.windows if common([old.ids[0], row.ids[0]]) < len(old.ids[0])]
        self.windows.append(row)
        while sum(old.cache.nbytes for old in self.windows) > self.most_bytes:
            del self.windows[0]
