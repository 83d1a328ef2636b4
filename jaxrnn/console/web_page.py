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
MARK = '<meta name="generator" content="jaxrnn">'  # by which a page of ours is recognised
SEARCHED = 1_000  # the first bytes of a file, which must contain that


def assemble_page(data: Mapping[str, Any], weights: bytes) -> str:
    """Assemble a page.

    Args:
      data: what the page shows, as `runs.page` collects it; anything that JSON can hold.
      weights: f32, little-endian, array after array.
    """
    script = "\n".join(_strip(read_part(f"{name}.js")) for name in MODULES)
    parts = {
        "style": read_part("style.css"),
        "script": script,
        "words": to_json(json.loads(read_part("words.json"))),
        "data": to_json(data),
        "weights": base64.b64encode(weights).decode(),
    }
    # All placeholders at once: the text of a run may contain something that looks like one.
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], read_part("page.html"))


def read_part(name: str) -> str:
    """Read a file of `web/`."""
    return resources.files("jaxrnn.console").joinpath("web", name).read_text("utf-8")


def to_json(data: Any) -> str:
    """Write JSON that cannot end its script element or open a comment: either would need a "<"."""
    return json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":")).replace("<", "\\u003c")


def _strip(module: str) -> str:
    """Drop imports and exports, because in the page all modules are one script."""
    return EXPORT.sub("", IMPORT.sub("", module))


def check_page_file(file: Path) -> None:
    """Raise `InputError` unless a page can be written there; only a page may be replaced."""
    if file.name == "-":
        raise InputError("--output is '-', but a page cannot go to the screen; name a file, for example page.html")
    with contextlib.suppress(OSError):  # an impossible file name fails when it is written
        if file.is_dir():
            raise InputError(f"--output {str(file)!r} is a folder; name a file in it, for example {str(file / 'page.html')!r}")
        if os.path.lexists(file) and not _is_page(file):
            kept = "exists and is not a jaxrnn page, so it is not overwritten"
            raise InputError(f"{str(file)!r} {kept}; name another file with --output")
        if not file.parent.is_dir():
            raise InputError(f"{str(file)!r} cannot be written: there is no folder {str(file.parent)!r}; create it first")


def _is_page(file: Path) -> bool:
    """Return whether this is a file that jaxrnn wrote; False if it cannot be read."""
    try:
        with file.open("rb") if file.is_file() else contextlib.nullcontext() as opened:
            return opened is not None and MARK.encode() in opened.read(SEARCHED)
    except OSError:
        return False
