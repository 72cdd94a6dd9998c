"""One thread for tests: their tensors are small, and threads that wait for each other are slow on a busy machine.

And no deadline for the examples of a property: on a busy machine it tells nothing.
"""

import os

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")
