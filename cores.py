"""Processor cores that other programs compute on too.

PyTorch's threads wait for each other some thousand times an update, and libgomp lets one that waits spin 300,000 times
before it sleeps: 14 ms on an Intel Xeon. Of two trainings on two cores one then keeps the other's threads from running:
an update of a small GPT, 25 ms alone, took 100 ms in each, and 2,300 where they met badly. With `SPINS` it is some
100 ms, and alone 3 % longer (`python -m benchmarks sharing`). One thread each is best: trainer.threads=1, 34 ms.
"""

import os

SPINS = 5000  # 0.2 ms there; what lies between two products of a small model is shorter


def share() -> None:
    """For libgomp, which asks when torch is imported: call it before. What the user has set stays."""
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
