"""Freed memory stays with a process that trains, since its next step asks for as much again.

The C library gives large blocks back to the system at once and takes them anew, page by page, at every step: measured on two
cores, that was a sixth of the time of a resnet8x4's step and a fifth of that of rendering views.
"""

from __future__ import annotations

import ctypes
import platform
from functools import cache

__all__ = ["keep_freed_memory"]

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt, in malloc.h
_KEPT = 2**30  # bytes that may lie free at the end of the heap
_LARGE = 2**28  # bytes of a block that is the system's own business: data sets, not activations


@cache
def keep_freed_memory() -> bool:
    """Tell glibc's allocator, once a process, to keep what is freed; whether it did (False on another C library)."""
    if platform.libc_ver()[0] != "glibc":
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
        return bool(mallopt(_TRIM_THRESHOLD, _KEPT) and mallopt(_MMAP_THRESHOLD, _LARGE))
    except (AttributeError, OSError):
        return False
