"""Memory that was freed is given back to the system."""

import ctypes
import sys
from types import SimpleNamespace

import pytest

from jaxrnn.runtime import memory

RESIDENT = 1  # field of /proc/self/statm, in pages
SMALL, MANY = 16_000, 4_000  # bytes of a piece, below the size from which the C library maps each by itself; pieces


def resident_pages():
    with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123
        return int(file.read().split()[RESIDENT])


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None) if sys.platform == "linux" else None, "malloc_trim"), reason="glibc only")
def test_freed_memory_goes_back_to_the_system():
    """Pieces are freed but for the last one, which keeps the C library from returning them by itself."""
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    pieces = [libc.malloc(SMALL) for _ in range(MANY)]
    for piece in pieces:
        ctypes.memset(piece, 1, SMALL)
    for piece in pieces[:-1]:
        libc.free(piece)
    before = resident_pages()
    memory.return_freed_memory()
    assert resident_pages() < before - MANY * SMALL // 4096 // 2
    libc.free(pieces[-1])


def test_the_c_library_is_asked_for_two_heaps_and_for_all_that_is_free(monkeypatch):
    asked = []
    library = SimpleNamespace(
        mallopt=lambda parameter, value: asked.append((parameter, value)), malloc_trim=lambda kept: asked.append(kept)
    )
    monkeypatch.setattr(memory, "ctypes", SimpleNamespace(CDLL=lambda name: library))
    memory.use_few_heaps()
    memory.return_freed_memory()
    assert asked == [(-8, 2), 0]  # M_ARENA_MAX of glibc's malloc.h


def test_another_c_library_is_no_error(monkeypatch):
    def missing(name):
        raise OSError(name)

    for library in (lambda name: object(), missing, lambda name: name.cdll):
        with monkeypatch.context() as patched:
            patched.setattr(memory, "ctypes", SimpleNamespace(CDLL=library))
            memory.return_freed_memory()
            memory.use_few_heaps()
