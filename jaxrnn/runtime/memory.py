"""Memory of the process."""

import contextlib
import ctypes

M_ARENA_MAX = -8  # glibc's parameter of `mallopt`
MOST_HEAPS = 1


def use_few_heaps() -> None:
    """Let all threads of this process share one heap.

    glibc would give each of XLA's compiling threads its own, and keep in each what it has used: 100 MB more at a test's peak.
    For a process that is the program's alone: it cannot be undone. Does nothing where the C library is another one.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, MOST_HEAPS)


def return_freed_memory() -> None:
    """Return to the system what was freed: the C library would keep what XLA's compiler used, over 100 MB, for later.

    Does nothing where that library has no `malloc_trim` (it is glibc's).
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
