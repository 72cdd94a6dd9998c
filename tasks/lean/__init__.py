"""Starting sooner: what libraries import of others, and no run here uses, is left until somebody asks for it.

Lightning imports the compiler of torch and all of torchmetrics, which imports scipy, transformers and matplotlib: half
of the time until the first update. The two finders here stand first on sys.meta_path, where Python looks modules up.
"""

import sys

from tasks.lean.compiler import NotUntilAsked
from tasks.lean.metrics import LeanTorchmetrics


def install() -> None:
    """From now on; what has been imported before stays as it is."""
    sys.meta_path[:0] = [NotUntilAsked(), LeanTorchmetrics()]
