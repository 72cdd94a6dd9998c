"""What must hold before the first update."""

import torch

from lightning_modules.rl.checks import nothing_moved


def test_the_first_ratio_is_one_up_to_the_rounding_of_the_products():
    """In 16 bits a row's log-probabilities differ by hundredths with the rows beside it: 0.01 is no dropout there."""
    actions = torch.ones(1, 2, dtype=torch.bool)
    moved = torch.tensor([[0.0, 0.01]])
    assert "off 1 by up to 0.01" in nothing_moved(moved, actions, half=False)
    assert nothing_moved(moved, actions, half=True) is None
    assert "is dropout on?" in nothing_moved(moved * 20, actions, half=True)
