"""One thread for tests: their tensors are small, and threads that wait for each other are slow on a busy machine.

And no deadline for the examples of a property: on a busy machine it tells nothing.
"""

import os

import pytest
from hypothesis import settings

import stopping

os.environ.setdefault("OMP_NUM_THREADS", "1")
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def a_machine_unknown(tmp_path_factory) -> None:
    """What was measured of the processor (tasks/hardware) is the user's; tests measure for themselves."""
    os.environ["NANOLAB_CACHE"] = str(tmp_path_factory.mktemp("machine"))


@pytest.fixture(autouse=True)
def nobody_has_asked_to_stop() -> None:
    """Tests share a process; what was stopped in one is no reason to stop the next."""
    stopping.reset()
