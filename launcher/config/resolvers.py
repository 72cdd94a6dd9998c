"""What a value in conf/ can be computed by, besides naming another key: ${boosting_steps:${gbft}}."""

from typing import Any

from omegaconf import OmegaConf


def boosting_steps(gbft: Any) -> Any:
    """Updates of a whole run of objective=gbft: it ends where its last stage does, and grows with `gbft.stages`."""
    if gbft is None:
        return None
    stages, size, corrective = (gbft.get(key) for key in ("stages", "steps_per_stage", "corrective_steps"))
    for value in (stages, size, corrective):
        if not isinstance(value, int):
            return value  # of the wrong type: said at its own key
    return stages * size + corrective


OmegaConf.register_new_resolver("boosting_steps", boosting_steps, replace=True)
