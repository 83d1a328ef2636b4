"""Keep the memory of the process small."""

import contextlib
import ctypes

M_ARENA_MAX = -8  # glibc's parameter of `mallopt`
MOST_HEAPS = 2


def use_few_heaps() -> None:
    """Let all threads of this process share two heaps.

    glibc would give each of XLA's compiling threads its own heap, and keep what each has used: 80 MB more at the peak of a
    test. With a single heap they wait for each other, and compile a fifth longer. This cannot be undone, so it is for programs
    that own their process. It does nothing with other C libraries.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, MOST_HEAPS)


def return_freed_memory() -> None:
    """Return freed memory to the system: the C library would keep what XLA's compiler used, over 100 MB, for later.

    It does nothing unless the C library is glibc, which has `malloc_trim`.
    """
    with contextlib.suppress(AttributeError, OSError, TypeError):
        ctypes.CDLL(None).malloc_trim(0)
