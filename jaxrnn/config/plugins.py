"""Import your own parts, named in settings as `package.module:name`."""

import contextlib
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from jaxrnn.errors import InputError, describe_kind

Entry = TypeVar("Entry")
FORM = "package.module:name"
PREFIXES = ("synthetic",)  # what comes before the colon in our own names


def is_import_string(value: str) -> bool:
    """Return whether a value is a `package.module:name`, and not a file, a Windows drive or `synthetic:NAME`."""
    return has_import_form(value) and not _is_file(value)


def has_import_form(value: str) -> bool:
    """Return whether a value has the form of an import string; a file may have such a name, too."""
    module, colon, name = value.partition(":")
    parts = (name, *module.split("."))
    return bool(colon) and all(part.isidentifier() for part in parts) and len(module) > 1 and module not in PREFIXES


def module_name(value: str) -> str:
    """Return the module that an import string names."""
    return value.partition(":")[0]


def load_part(flag: str, value: str, known: Mapping[str, Entry], entry_of: Callable[[Any], Entry | None], wanted: str) -> Entry:
    """Find the part that a setting names: a known one, or an imported one.

    Args:
      flag: the setting's flag, for messages.
      entry_of: makes a registry entry of an imported object; None if it is of the wrong kind.
      wanted: describes the right kind.
    Raises:
      InputError: unknown name; missing module or name; failed import; wrong kind of object.
    """
    if value in known:
        return known[value]
    if not is_import_string(value):
        raise InputError(describe_unknown(flag, value, known))
    thing = import_object(flag, value)
    entry = entry_of(thing)
    if entry is None:
        raise InputError(f"--{flag} {value} is {describe_object(thing)}; it must be {wanted}")
    return entry


def describe_unknown(flag: str, value: str, known: Mapping[str, Any]) -> str:
    """Describe an unknown name, with a suggestion."""
    return f"--{flag} {value!r} is unknown; known are {', '.join(known)}, or {FORM} for your own{_suggest(value, known)}"


def import_object(flag: str, value: str) -> Any:
    """Import the object that an import string names, also from the current folder.

    Raises:
      InputError: no such module or name, or the import fails.
    """
    module_name, _, name = value.partition(":")
    with _current_folder_importable():
        module = _import_module(flag, value, module_name)
    if hasattr(module, name):
        return getattr(module, name)
    raise InputError(f"--{flag} {value}: the module {module_name} has no {name!r}{_suggest(name, vars(module))}")


def describe_object(thing: Any) -> str:
    """Describe an object: `the class Own`, `the module own`, `an int`."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if isinstance(thing, ModuleType):
        return f"the module {thing.__name__}"
    if callable(thing) and hasattr(thing, "__name__"):
        return f"the function {thing.__name__}"
    return describe_kind(thing)


@contextlib.contextmanager
def explain_failures(named: Mapping[str, str]) -> Iterator[None]:
    """Turn whatever your own parts raise into a one-line `InputError` that names them.

    Args:
      named: import strings, by their setting; if there are none, nothing is caught.
    """
    try:
        yield
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        flags = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in named.items())
        if not named or (isinstance(error, InputError) and str(error).startswith("--")):
            raise
        if isinstance(error, InputError):
            raise InputError(f"{flags}: {error}") from None
        raise InputError(f"{flags} cannot be used: {_describe_error(error)}") from error


def _import_module(flag: str, value: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_error(flag, value, name, error) from None
        raise InputError(
            f"--{flag} {value}: there is no module {error.name}{_suggest(error.name, _modules_beside(name))}"
        ) from None
    except (Exception, SystemExit) as error:  # a user's code may raise anything
        raise _import_error(flag, value, name, error) from None


def _import_error(flag: str, value: str, name: str, error: BaseException) -> InputError:
    return InputError(f"--{flag} {value}: importing {name} failed with {_describe_error(error)}")


def _describe_error(error: BaseException) -> str:
    said = str(error).partition("\n")[0][:200]
    return f"{type(error).__name__}{f': {said}' * bool(said)}"


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    """Also search the current folder, last, so that it hides nothing: unlike `python -m`, the command `jaxrnn` does not."""
    importlib.invalidate_caches()  # a file may just have been written
    here = str(Path.cwd())
    added = "" not in sys.path and here not in sys.path
    if added:
        sys.path.append(here)
    try:
        yield
    finally:
        if added and here in sys.path:
            sys.path.remove(here)


def _modules_beside(name: str) -> list[str]:
    """List modules to suggest: those in the named package, or in the current folder."""
    package = name.rpartition(".")[0]
    if not package:
        return [found.name for found in pkgutil.iter_modules([str(Path.cwd())])]
    paths = getattr(sys.modules.get(package), "__path__", [])
    return [f"{package}.{found.name}" for found in pkgutil.iter_modules(paths)]


def _suggest(name: str, known: Iterable[str]) -> str:
    similar = difflib.get_close_matches(name, [each for each in known if not each.startswith("_")], 1)
    return f"; did you mean {similar[0]}?" if similar else ""


def _is_file(value: str) -> bool:
    try:
        return Path(value).is_file()
    except (OSError, ValueError):  # an impossible file name
        return False
