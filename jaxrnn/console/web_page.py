"""Put a page together: one HTML file that needs no network, of the parts in `jaxrnn/web/` and the data of a run."""

import base64
import contextlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from jaxrnn.errors import InputError

MODULES = (
    "numbers",
    "cells",
    "network",
    "safetensors",
    "words",
    "draw",
    "looking",
    "units",
    "reading",
    "writing",
    "learning",
    "main",
)
IMPORT, EXPORT = re.compile(r"^import [^;]*;\n", re.MULTILINE), re.compile(r"^export ", re.MULTILINE)
MARK = '<meta name="generator" content="jaxrnn">'  # tells a page of ours from any other file
SEARCHED = 1_000  # characters of a file in which that must stand


def assemble_page(data: Mapping[str, Any], weights: bytes) -> str:
    """Assemble a page.

    Args:
      data: of the run, as `runs.page` collects it; anything that JSON can hold.
      weights: f32, little-endian, array after array.
    """
    script = "\n".join(_strip(read_part(f"{name}.js")) for name in MODULES)
    # In a script only "</" could end it; JSON may write it otherwise.
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("</", "<\\/")
    parts = {"style": read_part("style.css"), "script": script, "data": text, "weights": base64.b64encode(weights).decode()}
    # All at once: a text may hold the name of a place.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], read_part("page.html"))


def read_part(name: str) -> str:
    """Read a file of `jaxrnn/web/`."""
    return resources.files("jaxrnn").joinpath("web", name).read_text("utf-8")


def _strip(module: str) -> str:
    """Drop imports and exports: in the page all modules are one."""
    return EXPORT.sub("", IMPORT.sub("", module))


def check_page_file(file: Path) -> None:
    """Raise `InputError` unless a page can be written there: no other file is replaced."""
    if file.name == "-":
        raise InputError("--output is '-'; a page needs a file, not the screen: name one, for example page.html")
    with contextlib.suppress(OSError):  # an impossible file name fails when it is written
        if file.is_dir():
            raise InputError(f"--output {str(file)!r} is a folder; name a file in it, for example {str(file / 'page.html')!r}")
        if file.exists() and MARK not in file.read_text("utf-8", errors="replace")[:SEARCHED]:
            raise InputError(f"{str(file)!r} is no page of jaxrnn and is not overwritten; name another file with --output")
        if not file.parent.is_dir():
            raise InputError(f"{str(file)!r} cannot be written: there is no folder {str(file.parent)!r}; make it first")
