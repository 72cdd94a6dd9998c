"""Averages of runs' weights: the formula, and what is refused."""

import pytest
import torch
from omegaconf import OmegaConf

from errors import RequestError
from tasks.merge import averaged, check_same, folder_of, shares_of


def test_the_average_and_the_distances_are_those_worked_by_hand():
    """w = (3, 4) has length 5; (6, 8) lies 5 away, one length. A half of each is (4.5, 6); a counter stays."""
    states = [
        {"w": torch.tensor([3.0, 4.0]), "n": torch.tensor(7)},
        {"w": torch.tensor([6.0, 8.0]), "n": torch.tensor(9)},
    ]
    average, apart = averaged(iter(states), [0.5, 0.5])
    assert average["w"].tolist() == [4.5, 6.0]
    assert average["w"].dtype == torch.float32
    assert int(average["n"]) == 7
    assert apart == pytest.approx([0.0, 1.0])


def test_shares_sum_to_one():
    assert shares_of(4, None) == [0.25] * 4
    assert shares_of(2, [3, 1]) == [0.75, 0.25]


@pytest.mark.parametrize(("n", "weights"), [(1, None), (2, [1.0]), (2, [0.0, 0.0]), (3, [1.0, 1.0])])
def test_what_cannot_be_shares_is_refused(n, weights):
    with pytest.raises(RequestError, match=r"two runs or more|expected"):
        shares_of(n, weights)


def test_what_is_no_run_or_named_twice_is_refused(tmp_path):
    with pytest.raises(RequestError, match="no run folder"):
        folder_of(str(tmp_path))
    with pytest.raises(RequestError, match="named twice"):
        check_same(OmegaConf.create({}), ["a", "b", "a"], "x")
