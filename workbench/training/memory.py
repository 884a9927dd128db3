"""The C library's memory: kept between training steps instead of handed back and fetched again."""

from __future__ import annotations

import ctypes
import sys

import jax

# mallopt's parameters, from glibc's malloc.h.
_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4


def keep_freed_memory() -> bool:
    """Tell glibc to keep what is freed; whether it agreed. Elsewhere than on glibc nothing happens.

    A step on CPU takes and frees hundreds of megabytes. By default they return to the kernel each time, and
    come back as pages that fault one by one: a sixth of a step's time, and more beside other work. glibc keeps
    only what the main thread frees, so JAX is told to run its programs there. Call before JAX is first used:
    a backend that has started stays as it is. Huge pages gain a little more; only the environment can ask for
    them: `GLIBC_TUNABLES=glibc.malloc.hugetlb=1`.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    jax.config.update("jax_cpu_enable_async_dispatch", False)
    settings = ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, 2**31 - 1), (_TOP_PAD, 2**28))
    return all(mallopt(parameter, value) == 1 for parameter, value in settings)
