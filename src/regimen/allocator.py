"""Asks the C library to keep freed memory instead of giving it back: on a CPU every step needs the same memory again.

glibc maps large buffers afresh at each allocation, and the kernel must clear every page of them. Tensors of a training
step are such buffers: for a small language model this was 5 to 30 % of the CPU time of a step.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3
_LARGEST_INT = 2**31 - 1
_GROW_BY_BYTES = 64 * 2**20


def keep_freed_memory() -> bool:
    """For the rest of this process; call it once before training on a CPU. False where the C library is not glibc.

    The process then holds its peak memory until it ends. Buffers of 2 GiB and more are mapped as before.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:
        return False
    settings = ((_TRIM_THRESHOLD, _LARGEST_INT), (_MMAP_THRESHOLD, _LARGEST_INT), (_TOP_PAD, _GROW_BY_BYTES))
    answers = [mallopt(ctypes.c_int(name), ctypes.c_int(value)) for name, value in settings]
    return all(answer == 1 for answer in answers)
