"""Rows as inspect shows them: pairs side by side, without padding, windows of a mixture with their source."""

from types import SimpleNamespace

import torch

from datamodules.mixture import MixtureDataModule
from tasks.views._rows import batch_rows


def test_pairs_stand_together_and_padding_is_left_out():
    ids = torch.tensor([[1, 2, 0, 0], [1, 3, 4, 0], [1, 5, 6, 7], [1, 8, 0, 0]])  # two chosen, two rejected
    micro = {"ids": ids, "targets": ids, "lengths": torch.tensor([2, 3, 4, 2])}
    rows = list(batch_rows(SimpleNamespace(provides=("pairs",)), [[micro]]))
    assert [row.ids for row in rows] == [[1, 2], [1, 5, 6, 7], [1, 3, 4], [1, 8]]
    assert [row.title.split(", ", 2)[2] for row in rows] == [
        "pair 1, chosen, 2 of padding left out", "pair 1, rejected", "pair 2, chosen, 1 of padding left out",
        "pair 2, rejected, 2 of padding left out",
    ]  # fmt: skip


def test_padding_of_examples_is_left_out():
    micro = {"ids": torch.tensor([[5, 6, 9]]), "padding": torch.tensor([[True, True, False]])}
    (row,) = batch_rows(SimpleNamespace(provides=("chat",)), [[micro]])
    assert row.ids == [5, 6]


class Mixture(MixtureDataModule):
    """Two windows of an update, one from each source."""

    def __init__(self) -> None:
        self.accumulate, self.world_size, self.batch_size, self.seq_len, self.stride = 1, 1, 2, 4, 4
        self.sampling, self.packing = "random", "concat"

    def order(self):
        return SimpleNamespace(starts=lambda step, n: torch.tensor([7, 90]))

    def source_at(self, start: int) -> str:
        return "web" if start < 50 else "books"


def test_a_window_of_a_mixture_names_its_source():
    rows = list(batch_rows(Mixture(), [[{"ids": torch.zeros(2, 4, dtype=torch.long)}]]))
    assert [row.title.split(", ", 2)[2] for row in rows] == [
        "row 1, web, tokens 7 to 11",
        "row 2, books, tokens 90 to 94",
    ]
