"""What a value in conf/ can be computed by, besides naming another key: ${times_plus:2,${n},1}."""

from typing import Any

from omegaconf import OmegaConf


def times_plus(a: Any, b: Any, c: Any) -> Any:
    """a * b + c; where one of them is no whole number, that one: what is wrong with it is said at its own key."""
    wrong = [value for value in (a, b, c) if not isinstance(value, int)]
    return wrong[0] if wrong else a * b + c


def boosting_steps(gbft: Any) -> Any:
    """How the configs of runs saved before 2026-12 say the same of their stages."""
    return None if gbft is None else times_plus(gbft.stages, gbft.steps_per_stage, gbft.corrective_steps)


OmegaConf.register_new_resolver("boosting_steps", boosting_steps, replace=True)
OmegaConf.register_new_resolver("times_plus", times_plus, replace=True)
