"""Assemble a page: one HTML file that works offline, from the parts in `web/` and the data of a run."""

import base64
import contextlib
import json
import os
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
SEARCHED = 1_000  # bytes of a file in which that must stand


def assemble_page(data: Mapping[str, Any], weights: bytes) -> str:
    """Assemble a page.

    Args:
      data: of the run, as `runs.page` collects it; anything that JSON can hold.
      weights: f32, little-endian, array after array.
    """
    script = "\n".join(_strip(read_part(f"{name}.js")) for name in MODULES)
    parts = {
        "style": read_part("style.css"),
        "script": script,
        "words": _to_json(json.loads(read_part("words.json"))),
        "data": _to_json(data),
        "weights": base64.b64encode(weights).decode(),
    }
    # All at once: a text may hold the name of a place.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], read_part("page.html"))


def read_part(name: str) -> str:
    """Read a file of `web/`."""
    return resources.files("jaxrnn.console").joinpath("web", name).read_text("utf-8")


def _to_json(data: Any) -> str:
    """Write JSON that cannot end the script which holds it: that begins with "<", as does what would open a comment."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


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
        if os.path.lexists(file) and not _is_page(file):
            kept = "exists and is not a jaxrnn page, so it is not overwritten"
            raise InputError(f"{str(file)!r} {kept}; name another file with --output")
        if not file.parent.is_dir():
            raise InputError(f"{str(file)!r} cannot be written: there is no folder {str(file.parent)!r}; make it first")


def _is_page(file: Path) -> bool:
    """Return whether jaxrnn wrote this file; what is no file, or cannot be read, it did not."""
    try:
        with file.open("rb") if file.is_file() else contextlib.nullcontext() as opened:
            return opened is not None and MARK.encode() in opened.read(SEARCHED)
    except OSError:
        return False
