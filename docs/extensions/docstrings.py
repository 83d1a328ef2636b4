"""Show signatures and fields as the source writes them, and the `Source:` line of a docstring as a section.

Autodoc would show what the names of types stand for (`jaxtyping.Float[jaxlib._jax.Array, '...']`), and fields of NamedTuples as
numbers.
"""

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

SOURCE = re.compile(r"^(\s*)Source: (.*)$")
UNEXPLAINED = "Alias for field number"


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to autodoc: sections before napoleon reads them, fields after it, which would look for a type in them."""
    app.setup_extension("sphinx.ext.napoleon")
    app.config.napoleon_custom_sections = ["Source"]
    app.connect("autodoc-process-signature", sign_as_written)
    app.connect("autodoc-process-docstring", split_source, priority=400)
    app.connect("autodoc-process-docstring", explain_field, priority=600)
    app.connect("doctree-read", draw_dashes)
    return {"parallel_read_safe": True}


def sign_as_written(
    app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None
) -> tuple[str | None, str | None] | None:
    """Return the arguments of a function with their annotations, or the names of what a class takes."""
    if what == "class":
        return f"({', '.join(inspect.signature(thing).parameters)})" if signature else None, None
    if what not in ("function", "method"):
        return None
    node = parse(inspect.unwrap(thing))
    if not isinstance(node, ast.FunctionDef):
        return None
    if what == "method" and node.args.args and node.args.args[0].arg == "self":
        del node.args.args[0]
    show_constants(node.args, inspect.signature(thing).parameters)
    return f"({ast.unparse(node.args)})", ast.unparse(node.returns) if node.returns else None


def show_constants(arguments: ast.arguments, parameters: Mapping[str, inspect.Parameter]) -> None:
    """Put the values of constants in the place of their names."""

    def shown(argument: ast.arg, default: ast.expr) -> ast.expr:
        value = parameters[argument.arg].default
        return ast.Constant(value) if isinstance(value, str | int | float) else default

    positional = [*arguments.posonlyargs, *arguments.args][-len(arguments.defaults) :] if arguments.defaults else []
    arguments.defaults = [shown(*pair) for pair in zip(positional, arguments.defaults, strict=True)]
    pairs = zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
    arguments.kw_defaults = [default and shown(argument, default) for argument, default in pairs]


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
    """Say the type of a field, and what the comment behind it says if it has no text of its own."""
    if what != "attribute":
        return
    *path, owner, field = name.split(".")
    written = parse(getattr(sys.modules[".".join(path)], owner, None))
    fields = [line for line in getattr(written, "body", ()) if isinstance(line, ast.AnnAssign)]
    found = next((line for line in fields if isinstance(line.target, ast.Name) and line.target.id == field), None)
    if found is None:
        return
    if lines and lines[0].startswith(UNEXPLAINED):
        source = textwrap.dedent(inspect.getsource(getattr(sys.modules[".".join(path)], owner))).splitlines()
        _, _, comment = source[(found.end_lineno or 1) - 1].partition("  # ")
        lines[:] = [re.sub(r"([*|_\\])", r"\\\1", comment)]
    kind = f"``{ast.unparse(found.annotation)}``"
    lines[:] = [f"{kind}: {lines[0]}" if any(lines) else kind, *lines[1:]]


def parse(thing: Any) -> ast.stmt | None:
    """Parse the source of a function or class; None if there is none."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(thing))).body[0]
    except (OSError, TypeError):
        return None


def draw_dashes(app: Sphinx, page: nodes.document) -> None:
    """Make dashes of the hyphens that Sphinx puts between a parameter and its text."""
    for text in page.findall(lambda node: isinstance(node, nodes.Text) and node == " -- "):
        text.parent.replace(text, nodes.Text(" – "))
