"""Memory that a process has freed and reuses."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

PAGE_FAULTS = """
import resource, sys
import torch
from reward_finetuning.policy.allocator import keep_freed_memory

if sys.argv[1] == "kept":
    keep_freed_memory()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

def use(times):
    for _ in range(times):
        torch.ones(16 << 20)  # 64 MiB, which glibc by itself never keeps

use(20)  # the first few leave gaps for alignment
before = faults()
use(10)
print(faults() - before)
"""


def page_faults(kind):
    command = [sys.executable, "-c", PAGE_FAULTS, kind]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def test_a_tensor_of_the_same_size_gets_the_same_pages_again():
    # A tensor has 16,384 pages, or 32 huge ones. Without the setting the kernel clears them again for each tensor.
    assert page_faults("kept") < 10 * 32 <= page_faults("default")
