"""What a value in conf/ can be computed by, besides naming another key: ${boosting_steps:...}."""

from typing import Any

from omegaconf import OmegaConf


def boosting_steps(stages: Any, steps_per_stage: Any, corrective_steps: Any) -> Any:
    """Updates of a whole run of objective=gbft: it ends where its last stage does, and grows with `gbft.stages`."""
    for value in (stages, steps_per_stage, corrective_steps):
        if not isinstance(value, int):
            return value  # of the wrong type: said at its own key
    return stages * steps_per_stage + corrective_steps


OmegaConf.register_new_resolver("boosting_steps", boosting_steps, replace=True)
