"""Turn what jaxrnn's docstrings and NamedTuples say into what autodoc and napoleon read."""

import inspect
import re
import sys
from typing import Any

from sphinx.application import Sphinx

SOURCE = re.compile(r"^(\s*)Source: (.*)$")
FIELD = r"^    {name}: .*?  # (.*)$"
UNEXPLAINED = "Alias for field number"
SPECIAL = re.compile(r"([*|`_\\])")
OUTSIDE = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+experiments/results/\w+\.md)\)")


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to autodoc, before napoleon reads the sections."""
    app.setup_extension("sphinx.ext.napoleon")
    app.config.napoleon_custom_sections = [("Source", "notes_style")]
    app.connect("autodoc-process-docstring", split_source, priority=400)
    app.connect("autodoc-process-docstring", explain_field, priority=600)  # after napoleon, which would look for a type in it
    app.connect("source-read", offer_files)
    return {"parallel_read_safe": True}


def split_source(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Make a section of `Source: text`."""
    for number, line in enumerate(list(lines)):
        match = SOURCE.match(line)
        if match:
            end = next((n for n in range(number + 1, len(lines)) if not lines[n].strip()), len(lines))
            text = [match[2], *[rest.strip() for rest in lines[number + 1 : end]]]
            lines[number:end] = ["", f"{match[1]}Source:", *[f"{match[1]}  {part}" for part in text]]
            return


def explain_field(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    """Give a field of a NamedTuple the comment behind it in the source instead of its number."""
    if not lines or not lines[0].startswith(UNEXPLAINED):
        return
    module, owner, field = name.rsplit(".", 2)
    found = re.search(FIELD.format(name=field), inspect.getsource(getattr(sys.modules[module], owner)), re.MULTILINE)
    lines[:] = [SPECIAL.sub(r"\\\1", found[1]) if found else ""]


def offer_files(app: Sphinx, page: str, source: list[str]) -> None:
    """Make downloads of links to tables outside docs/, which on a code host lead to the files."""
    source[0] = OUTSIDE.sub(r"{download}`\1 <\2>`", source[0])
