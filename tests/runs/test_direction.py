"""What is better, less or more, is told from a metric's name; best.ckpt never holds the worst."""

import pytest

from errors import RequestError
from runs.direction import best_mode, known_direction


@pytest.mark.parametrize(
    ("metric", "lower"),
    [
        ("val/loss", True),
        ("val/loss/books", True),
        ("val/bpb", True),
        ("val/exact_match", False),
        ("val/rewards/chosen", False),
        ("val/rewards/accuracies", False),
        ("test/arc_easy/acc", False),
        ("test/arc_easy/acc_norm,none", False),
        ("test/gsm8k/self_consistency", False),
        ("test/gsm8k/pass@4", False),
        ("test/hellaswag/accuracy_per_source", False),
        ("val/accuracy_per_token", False),
        ("train/tokens_per_second", False),
        ("val/perplexity_past_context/modern/slide", True),
        ("test/wikitext/word_perplexity", True),
        ("test/arc_easy/acc_stderr", None),
        ("val/odd", None),
    ],
)
def test_direction_by_name(metric: str, lower: bool | None) -> None:
    assert known_direction(metric) is lower


def test_best_checkpoint_follows_the_name_and_refuses_the_opposite() -> None:
    assert best_mode("val/exact_match", None) == "max"
    assert best_mode("val/loss", None) == "min"
    assert best_mode("val/odd", "max") == "max"
    with pytest.raises(RequestError, match=r"best\.ckpt would hold the worst"):
        best_mode("val/exact_match", "min")
    with pytest.raises(RequestError, match=r"Type trainer\.monitor_mode=min"):
        best_mode("val/odd", None)
