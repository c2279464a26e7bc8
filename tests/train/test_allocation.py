"""Blocks of a step's size are had again without the system: counted in page faults of a process of its own."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

COUNT = """
import resource, sys
import torch
from autokd.train.allocation import keep_freed_memory

if sys.argv[1] == "keep":
    assert keep_freed_memory() and keep_freed_memory()


def work():
    held = [torch.ones(4_000_000) for _ in range(4)]  # 16 MB each
    held.reverse()


for _ in range(5):
    work()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(word: str) -> int:
    made = subprocess.run([sys.executable, "-c", COUNT, word], check=True, capture_output=True, text=True)
    return int(made.stdout)


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_what_is_freed_is_used_again_without_new_pages():
    assert faults("keep") < faults("leave") / 4


def test_elsewhere_nothing_is_changed(monkeypatch):
    from autokd.train import allocation

    allocation.keep_freed_memory.cache_clear()
    monkeypatch.setattr(allocation.platform, "libc_ver", lambda: ("", ""))
    assert not allocation.keep_freed_memory()
    allocation.keep_freed_memory.cache_clear()
