"""Keep large buffers between uses, where the C library would give them back each time."""

from __future__ import annotations

import ctypes
import functools
import platform

# From glibc's malloc.h: option numbers of mallopt.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
_LARGEST = 2**31 - 1


@functools.cache
def keep_buffers() -> None:
    """Let glibc keep freed memory for the next allocation; without glibc, do nothing.

    Training on a processor frees and takes buffers of many megabytes all the time. By default glibc returns each to
    the system, and taking it again costs page faults: one RetroMAE step of MiniLM at 4,096 tokens took 2.5 s before
    and 2.0 s after (medians on two cores; benchmarks/pretraining_step.py).
    The process then keeps the most memory it ever needed.
    """
    if platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, _LARGEST)
        mallopt(_TOP_PAD, 64 << 20)
