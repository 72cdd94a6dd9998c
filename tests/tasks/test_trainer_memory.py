"""Memory that was freed is used again without asking Linux for fresh pages."""

import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from tasks.trainer import keep_freed_memory
{first}
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(30_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
faults()
print(min(faults() for _ in range(3)))
"""


def faults(first: str) -> int:
    done = subprocess.run([sys.executable, "-c", COUNT.format(first=first)], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's setting")
@pytest.mark.slow
def test_a_large_tensor_comes_from_freed_memory():
    assert faults("") > 1000  # 120 MB, page after page
    assert faults("keep_freed_memory()") < 100
