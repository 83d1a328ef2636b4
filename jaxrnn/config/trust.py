"""Decide whose code may be imported: none that a saved run names, unless its package is trusted.

Settings are checked when they are read from disk. What a user types in the same command needs no trust.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxrnn.config.plugins import has_import_form, module_name
from jaxrnn.errors import InputError

# Settings that may name code, by the group of settings that they are in.
NAMING_CODE = {"text": ("text",), "model": ("cell",), "learning": ("rule", "optimizer"), "evaluation": ("dynamic_optimizer",)}


class Untrusted(InputError):
    """Settings name code that is not trusted. The settings themselves are in `settings`."""

    def __init__(self, message: str, settings: Any):
        super().__init__(message)
        self.settings = settings


def imports_of(settings: Any) -> dict[str, str]:
    """List what a `Config` would import, by setting."""
    named = naming_code(settings).items()  # several texts are files: none of them is imported
    return {name: value for name, value in named if isinstance(value, str) and has_import_form(value)}


def naming_code(settings: Any) -> dict[str, Any]:
    """List the settings of a `Config` that may name code, with their values."""
    return {name: getattr(getattr(settings, group), name) for group, names in NAMING_CODE.items() for name in names}


def check_trust(settings: Any, trust: Sequence[str]) -> None:
    """Raise `Untrusted`, which says what would be imported and what to type, unless all of it is trusted.

    Args:
      settings: a `Config` as it was saved.
      trust: packages, modules or whole import strings.
    """
    untrusted = {name: value for name, value in imports_of(settings).items() if not is_trusted(value, trust)}
    if not untrusted:
        return
    flags = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in untrusted.items())
    packages = list(dict.fromkeys(module_name(value).partition(".")[0] for value in untrusted.values()))
    names = " and ".join(packages)
    raise Untrusted(
        f"it would import {names}, for {flags}; if you trust that code, add --trust {','.join(packages)} "
        f"(in Python trust={tuple(packages)!r})",
        settings,
    )


def is_trusted(value: str, trust: Iterable[str]) -> bool:
    """Return whether an import string is in `trust`, or in a package or module that is."""
    return any(value == each or f"{module_name(value)}.".startswith(f"{each}.") for each in trust)


def trusted(packages: str | Sequence[str]) -> tuple[str, ...]:
    """List the trusted packages, from the value of --trust or from a sequence."""
    listed = packages.split(",") if isinstance(packages, str) else packages
    return tuple(each.strip() for each in listed if each.strip())


def trusted_by(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Collect what the flags of a command trust: the packages of --trust, and import strings typed in other flags."""
    typed = (values.get(name) for names in NAMING_CODE.values() for name in names)
    imports = (value for value in typed if value and isinstance(value, str) and has_import_form(value))
    return (*trusted(values.get("trust") or ""), *imports)
