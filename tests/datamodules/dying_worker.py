"""A worker that is killed in the middle of a text; a module of its own, for worker processes import it."""

import os
import signal

from datamodules.preparing import workers


def work(part, **options):
    if part[0].document > 20:
        os.kill(os.getpid(), signal.SIGKILL)
    return workers.work(part, **options)
