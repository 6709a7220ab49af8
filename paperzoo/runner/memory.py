"""Freed memory kept: glibc gives large blocks back to the system, and the next step faults every page in anew."""

import ctypes
import platform
import sys

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h
KEPT = 2**30  # bytes
LARGEST_ON_HEAP = 2**30  # bytes; glibc's own limit is 32 MiB, and of tensors of Glow larger ones are the rule


def keep_freed_memory() -> bool:
    """Lets glibc serve large blocks from its heap and keep them when they are freed. Call before tensors are made.

    Changes no result. Returns whether it was done: elsewhere than on Linux with glibc there is nothing to do.
    """
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_THRESHOLD, LARGEST_ON_HEAP)) and bool(mallopt(M_TRIM_THRESHOLD, KEPT))
