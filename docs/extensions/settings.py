"""A directive that lists the flags of a program from the dataclass that defines them: `{settings} module:Class`."""

import itertools
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from jaxrnn.config.settings import DEFAULT_PRESET, PRESETS, Config
from jaxrnn.console.arguments import Setting, list_settings
from jaxrnn.console.help import name_and_text


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the directive."""
    app.add_directive("settings", Settings)
    return {"parallel_read_safe": True}


class Settings(SphinxDirective):
    """Flags by concern, each with its values, its text, its default, and the values of presets that differ."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        module, _, name = self.arguments[0].partition(":")
        settings = getattr(import_module(module), name)
        found = []
        for owner, group in itertools.groupby(list_settings(settings), lambda setting: setting.owner):
            if settings is Config:
                found.append(nodes.rubric("", (owner.__doc__ or "").partition("\n")[0].rstrip(".")))
            listed = nodes.definition_list("", *map(self.describe, group), classes=["settings"])
            found.append(listed)
        return found

    def describe(self, setting: Setting) -> nodes.definition_list_item:
        """Make the entry of a setting, to which `#flag-name` leads."""
        name, text = name_and_text(setting)
        term = nodes.term("", "", nodes.literal("", name))
        if setting.owner.__module__ == Config.__module__:
            term["ids"].append(f"flag-{setting.name.replace('_', '-')}")
        paragraph = nodes.paragraph("", "", *inline(text))
        different = [f"{value} ({preset})" for preset, value in values_of_presets(setting)]
        body = [paragraph, nodes.paragraph("", f"In other presets: {', '.join(different)}.")] if different else [paragraph]
        return nodes.definition_list_item("", term, nodes.definition("", *body))


def inline(text: str) -> list[nodes.Node]:
    """Show flags in a text as code."""
    parts = re.split(r"(--[\w-]+(?: [A-Z]+\b)?)", text)
    return [nodes.literal("", part) if part.startswith("--") else nodes.Text(part) for part in parts if part]


def values_of_presets(setting: Setting) -> Iterator[tuple[str, Any]]:
    """Yield the presets whose value of a setting is not the default one."""
    for preset, config in PRESETS.items():
        for other in list_settings(config):
            same = (other.owner, other.name) == (setting.owner, setting.name)
            if same and preset != DEFAULT_PRESET and other.default != setting.default:
                yield preset, f"{other.default:g}" if isinstance(other.default, float) else other.default
