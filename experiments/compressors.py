"""The compressors that `reading.py` measures: the size of a text after each of them."""

import bz2
import lzma
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

PPMD_ORDER, PPMD_BYTES = 8, 256 << 20  # characters in the longest context; memory
FILE, ARCHIVE = "text", "archive"  # stand in a command for the input and the output
COMMANDS = {
    "zpaq -m5": ("zpaq", "a", ARCHIVE, FILE, "-m5", "-t1"),
    "paq8px -8": ("paq8px", "-8", FILE, ARCHIVE),
    "lstm-compress": ("lstm-compress", "-c", FILE, ARCHIVE),
}


class Compressor(NamedTuple):
    """A name with options, and a function from a text to its compressed size in bytes."""

    name: str
    size: Callable[[bytes], int]


def find_compressors() -> tuple[list[Compressor], list[str]]:
    """Find those that are installed. Returns them, and a line for each of the others."""
    found, missing = [Compressor("xz -9e", xz_size), Compressor("bz2 -9", bz2_size)], []
    try:
        found.append(Compressor("PPMd, order 8", find_ppmd()))
    except ImportError:
        missing.append("left out: pyppmd is not installed: pip install -e '.[bench]'")
    for name, command in COMMANDS.items():
        if shutil.which(command[0]):
            found.append(Compressor(name, program_size(command)))
        else:
            missing.append(f"left out: no program {command[0]} is installed")
    return found, missing


def bz2_size(data: bytes) -> int:
    """Compress by sorting contexts, in blocks of 900,000 bytes."""
    return len(bz2.compress(data, 9))


def xz_size(data: bytes) -> int:
    """Compress by repeated strings."""
    return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))


def find_ppmd() -> Callable[[bytes], int]:
    """Make a function that predicts by contexts of up to 8 bytes, as 7-zip does; `ImportError` without pyppmd."""
    import pyppmd  # pyright: ignore[reportMissingImports]

    def size(data: bytes) -> int:
        encoder = pyppmd.Ppmd7Encoder(PPMD_ORDER, PPMD_BYTES)
        return len(encoder.encode(data)) + len(encoder.flush())

    return size


def program_size(command: tuple[str, ...]) -> Callable[[bytes], int]:
    """Make a function that runs a program in a folder of its own. What it writes there is the archive, whatever its ending."""

    def size(data: bytes) -> int:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, FILE).write_bytes(data)
            subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return sum(path.stat().st_size for path in Path(folder).iterdir() if path.name != FILE)

    return size
