"""trainer.max_time: the wall time of a run from its first moment on, with data, set-up and what is learned first."""

import time
from typing import Any

from lightning.pytorch.callbacks import Timer

from bounds import Duration


class Deadline(Timer):
    """Lightning's Timer, which begins at the first update, told when the run began; it adds up over resumes.

    Args:
        max_time: hours:minutes:seconds. began: a `time.monotonic()`.
    """

    state_key = "Timer"  # also that of checkpoints of Lightning's own

    def __init__(self, max_time: Duration, *, began: float):
        super().__init__(duration=f"00:{':'.join(part.zfill(2) for part in max_time.split(':'))}", verbose=False)
        self._began = began

    def time_elapsed(self, stage: Any = "train") -> float:
        """Seconds of this run so far, with those of the runs that it resumed; not of other stages."""
        return self._offset + time.monotonic() - self._began if stage == "train" else super().time_elapsed(stage)
