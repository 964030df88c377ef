"""Setting of glibc that keeps freed memory in the process for later allocations, for faster training on CPUs."""

from __future__ import annotations

import ctypes
import functools
import os
import platform

# Option numbers of mallopt, from glibc's malloc.h.
_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4
_INT_MAX = 2**31 - 1

VARIABLE = "ENCLOZE_KEEP_FREED_MEMORY"
"""Environment variable; the value 0 disables ``keep_freed_memory``."""


@functools.cache
def keep_freed_memory() -> None:
    """Let glibc keep freed memory for the next allocation, for the whole process.

    Training on a CPU allocates and frees buffers of many megabytes in every step. By default glibc returns each buffer
    to the system, and the next allocation costs page faults. Measured with benchmarks/pretraining_step.py on two cores
    (medians): one RetroMAE step of MiniLM with 4,096 tokens took 2.5 s without this function and 2.0 s with it. The
    drawback is that the process never returns memory to the system.

    The training loop calls the function before its first step. Importing encloze, loading a model, encoding and
    searching do not call it. It does nothing if the C library is not glibc, or if the environment variable
    ``ENCLOZE_KEEP_FREED_MEMORY`` is 0.

    Example:
        >>> from encloze.models.allocator import keep_freed_memory
        >>> keep_freed_memory()
    """
    if os.environ.get(VARIABLE) != "0" and platform.libc_ver()[0] == "glibc":
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, _INT_MAX)
        mallopt(_M_TOP_PAD, 64 << 20)
