"""What one job leaves in the process must not reach the next: job 3 of a sweep equals the same job alone (N7)."""

import gc
import logging
import os
import random
import signal
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from stopping import SIGNALS


@contextmanager
def isolated() -> Iterator[None]:
    """Puts back environment, folder, handlers, number formats and random streams; resets the memory counters."""
    environment, folder = dict(os.environ), os.getcwd()
    handlers = [(number, signal.getsignal(number)) for number in SIGNALS]
    root = logging.getLogger()
    logs, level = list(root.handlers), root.level
    numbers = _torch_settings()
    streams = random.getstate()
    reset_peak_memory()
    _set_imports_aside()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(folder)
        for number, handler in handlers:
            signal.signal(number, handler)
        root.handlers[:], root.level = logs, level
        random.setstate(streams)
        _restore_torch(numbers)
        _forget_compiled()
        gc.collect()


def _set_imports_aside() -> None:
    """Before the second job: what importing has left stays for good, and collecting need not look at it again.

    That is most of what collecting costs, 0.3 s a job. Not before the first job, which imports most of it, and not at
    its end: what it leaves behind must be found.
    """
    if "lightning" in sys.modules and not gc.get_freeze_count():
        gc.collect()
        gc.freeze()


def _forget_compiled() -> None:
    """torch.compile compiles a function eight times at most for all models of a process; later ones run as they are."""
    dynamo = sys.modules.get("torch._dynamo")  # which Lightning imports in each run
    if dynamo is not None and dynamo.utils.counters["frames"]["total"]:
        dynamo.reset()
        dynamo.utils.counters.clear()


def peak_memory_bytes() -> int:
    """The most memory that this job had: of the GPU if it was used, else of the process (resident)."""
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        peak = int(torch.cuda.max_memory_allocated())
        if peak:
            return peak
    return _resident_peak()


def reset_peak_memory() -> None:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")  # Linux: peak = what is resident now


def _resident_peak() -> int:
    try:
        line = next(s for s in Path("/proc/self/status").read_text().splitlines() if s.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    except (OSError, StopIteration):
        import resource

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024


def _torch_settings() -> dict[str, Any] | None:
    """None while torch is not loaded; loading it is the first job's business."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return {
        "dtype": torch.get_default_dtype(),
        "precision": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "threads": torch.get_num_threads(),
        "grad": torch.is_grad_enabled(),
    }


def _restore_torch(settings: dict[str, Any] | None) -> None:
    torch = sys.modules.get("torch")
    if torch is None:
        return
    # where the first job loaded torch: the settings that torch starts with
    settings = settings or {"dtype": torch.float32, "precision": "highest", "deterministic": False, "grad": True}
    torch.set_default_dtype(settings["dtype"])
    torch.set_float32_matmul_precision(settings["precision"])
    torch.use_deterministic_algorithms(settings["deterministic"])
    torch.set_grad_enabled(settings["grad"])
    torch.set_flush_denormal(False)
    if "threads" in settings:
        torch.set_num_threads(settings["threads"])
