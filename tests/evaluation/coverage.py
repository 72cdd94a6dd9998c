"""`python -m tests.evaluation.coverage [trials]`: how often intervals of few and skewed units hold the truth."""

import math
import sys
from collections.abc import Callable

import numpy as np

from evaluation.intervals import Estimate, mean_interval, proportion_interval, ratio_interval, statistic_interval

UNITS = (3, 5, 10, 30, 100)
VALUES: dict[str, tuple[Callable[[np.random.Generator, int], np.ndarray], float]] = {
    "normal": (lambda rng, n: rng.normal(2, 1, n), 2.0),
    "exponential": (lambda rng, n: rng.exponential(1, n), 1.0),
    "log-normal(0.5)": (lambda rng, n: rng.lognormal(0, 0.5, n), math.exp(0.125)),
    "log-normal(1)": (lambda rng, n: rng.lognormal(0, 1, n), math.exp(0.5)),
}


def covered(evaluate: Callable[[np.random.Generator], Estimate], truth: float, trials: int, *, seed: int = 0) -> float:
    """Share of evaluations whose interval holds the truth; NaN where none gives an interval."""
    rng = np.random.default_rng(seed)
    found = [evaluate(rng) for _ in range(trials)]
    given = [estimate for estimate in found if not math.isnan(estimate.low)]
    return float(np.mean([e.low <= truth <= e.high for e in given])) if given else math.nan


def of_means(name: str, n: int, trials: int) -> float:
    draw, truth = VALUES[name]
    return covered(lambda rng: mean_interval(draw(rng, n), seed=int(rng.integers(1 << 30))), truth, trials)


def of_ratios(n: int, trials: int) -> float:
    """Documents of uneven length whose loss per token is 2 on the whole, with a spread of their own."""

    def evaluate(rng: np.random.Generator) -> Estimate:
        tokens = np.ceil(rng.lognormal(4, 1, n))
        return ratio_interval(tokens * (2 + rng.normal(0, 0.5, n)), tokens, seed=int(rng.integers(1 << 30)))

    return covered(evaluate, 2.0, trials)


def of_proportions(n: int, p: float, trials: int) -> float:
    return covered(lambda rng: proportion_interval((rng.random(n) < p).astype(float)), p, trials)


def of_clustered(units: int, p: float, trials: int, *, uneven: bool = False) -> float:
    """Questions of a source share how hard it is: Beta(p, 1 - p), a correlation of 1/2. 1 to 8 of each, or 1 to 95."""

    def evaluate(rng: np.random.Generator) -> Estimate:
        sizes = np.ceil(rng.pareto(1, units) + 1e-9).clip(1, 95).astype(int) if uneven else rng.integers(1, 9, units)
        source = np.repeat(np.arange(units), sizes)
        right = rng.random(len(source)) < rng.beta(p, 1 - p, units)[source]
        return proportion_interval(right.astype(float), sources=source.tolist())

    return covered(evaluate, p, trials)


def of_macro_f1(n: int, trials: int) -> float:
    """Two classes, one in four of the second, each answer right with probability 0.7."""

    def macro(made: np.ndarray, wanted: np.ndarray) -> float:
        scores = [
            2 * ((made == c) & (wanted == c)).sum() / max(1, (made == c).sum() + (wanted == c).sum()) for c in (0, 1)
        ]
        return float(np.mean(scores))

    def draw(rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        wanted = (rng.random(n) < 0.25).astype(int)
        return np.where(rng.random(n) < 0.7, wanted, 1 - wanted), wanted

    truth = macro(*draw(np.random.default_rng(9), 2_000_000))

    def evaluate(rng: np.random.Generator) -> Estimate:
        made, wanted = draw(rng, n)
        return statistic_interval(
            lambda i: macro(made[i], wanted[i]), n, seed=int(rng.integers(1 << 30)), resamples=300
        )

    return covered(evaluate, truth, trials)


def main(trials: int) -> None:
    print(f"{'units':<32}" + "".join(f"{n:>8}" for n in UNITS))
    tables: dict[str, Callable[[int], float]] = {
        name: lambda n, name=name: of_means(name, n, trials) for name in VALUES
    }  # type: ignore[misc]
    tables["loss of uneven documents"] = lambda n: of_ratios(n, trials)
    for p in (0.02, 0.1, 0.5):
        tables[f"proportion {p}"] = lambda n, p=p: of_proportions(n, p, trials)  # type: ignore[misc]
        tables[f"proportion {p}, by source"] = lambda n, p=p: of_clustered(n, p, trials)  # type: ignore[misc]
        tables[f"proportion {p}, uneven sources"] = lambda n, p=p: of_clustered(n, p, trials, uneven=True)  # type: ignore[misc]
    tables["macro-F1"] = lambda n: of_macro_f1(n, trials // 10)
    for name, measure in tables.items():
        print(f"{name:<32}" + "".join(f"{100 * measure(n):>8.1f}" for n in UNITS), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 4000)
