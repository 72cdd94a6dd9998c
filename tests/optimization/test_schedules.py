"""Schedules against numbers worked by hand."""

import pytest

from optimization.schedules import constant, cosine, linear, wsd


def test_all_warm_up_alike_and_reach_the_peak():
    schedules = [
        lambda s: constant(s, warmup_steps=4),
        lambda s: cosine(s, total_steps=100, warmup_steps=4, final_ratio=0.1),
        lambda s: linear(s, total_steps=100, warmup_steps=4, final_ratio=0.1),
        lambda s: wsd(s, total_steps=100, warmup_steps=4, decay_ratio=0.2, final_ratio=0.0),
    ]
    for schedule in schedules:
        assert [schedule(s) for s in range(5)] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])


def test_cosine_is_nanogpts():
    """get_lr of nanoGPT: warm-up 100, 2,000 steps, 1e-3 -> 1e-4, at steps 0, 1050 (half way) and 2000."""
    rate = [1e-3 * cosine(s, total_steps=2000, warmup_steps=100, final_ratio=0.1) for s in (0, 1050, 2000, 5000)]
    assert rate == pytest.approx([1e-3 / 101, 5.5e-4, 1e-4, 1e-4])


def test_linear_is_a_line():
    assert [linear(s, total_steps=10, warmup_steps=0, final_ratio=0.0) for s in (0, 5, 10, 11)] == [1, 0.5, 0, 0]


def test_wsd_stays_then_decays():
    values = [wsd(s, total_steps=100, warmup_steps=0, decay_ratio=0.2, final_ratio=0.5) for s in (0, 79, 80, 90, 100)]
    assert values == pytest.approx([1, 1, 1, 0.75, 0.5])
