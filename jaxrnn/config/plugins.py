"""Import strings, `package.module:name`: a part of one's own, named in a setting and imported where it is used."""

import contextlib
import difflib
import importlib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from jaxrnn.errors import InputError

Entry = TypeVar("Entry")
FORM = "package.module:name"
PREFIXES = ("synthetic",)  # what stands before the colon in names of our own


def is_import_string(value: str) -> bool:
    """Whether a value has the form `package.module:name`, and is no file, no Windows drive and no `synthetic:NAME`."""
    module, colon, name = value.partition(":")
    if not colon or not name.isidentifier() or not all(part.isidentifier() for part in module.split(".")):
        return False
    return len(module) > 1 and module not in PREFIXES and not _is_file(value)


def module_name(value: str) -> str:
    """The module that an import string names."""
    return value.partition(":")[0]


def load_part(flag: str, value: str, known: Mapping[str, Entry], entry_of: Callable[[Any], Entry | None], wanted: str) -> Entry:
    """The part that a setting names: a known one, or one that is imported.

    Args:
      flag: the setting's, for messages.
      entry_of: makes a registry's entry of an imported thing; None if it is of another kind.
      wanted: that kind, in words.
    Raises:
      InputError: an unknown name, a module or a name that is not there, one that cannot be imported or is of another kind.
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
    """What to say of a name that is not among the known ones."""
    return f"--{flag} {value!r} is unknown{_suggest(value, known)}; known are {', '.join(known)}, or {FORM} for one of your own"


def import_object(flag: str, value: str) -> Any:
    """What an import string names; modules in the current folder are found too.

    Raises:
      InputError: there is no such module or name, or importing it fails.
    """
    module_name, _, name = value.partition(":")
    with _current_folder_importable():
        module = _import_module(flag, value, module_name)
    if hasattr(module, name):
        return getattr(module, name)
    raise InputError(f"--{flag} {value}: the module {module_name} has no {name!r}{_suggest(name, vars(module))}")


def describe_object(thing: Any) -> str:
    """What kind of thing this is: `the class Own`, `a module`, `an int: 3`."""
    if isinstance(thing, type):
        return f"the class {thing.__name__}"
    if isinstance(thing, ModuleType):
        return f"the module {thing.__name__}"
    if callable(thing) and hasattr(thing, "__name__"):
        return f"the function {thing.__name__}"
    kind = type(thing).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _import_module(flag: str, value: str, name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _import_error(flag, value, name, error) from None
        raise InputError(
            f"--{flag} {value}: there is no module {error.name}{_suggest(error.name, _modules_beside(name))}"
        ) from None
    except (Exception, SystemExit) as error:  # whatever the code of somebody else raises
        raise _import_error(flag, value, name, error) from None


def _import_error(flag: str, value: str, name: str, error: BaseException) -> InputError:
    said = str(error).partition("\n")[0][:200]
    return InputError(f"--{flag} {value}: importing {name} failed with {type(error).__name__}{f': {said}' * bool(said)}")


@contextlib.contextmanager
def _current_folder_importable() -> Iterator[None]:
    """`python -m` looks into the current folder, the command `jaxrnn` does not; it comes last, so that it hides nothing."""
    importlib.invalidate_caches()  # a file may have been written a moment ago
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
    """Modules that may have been meant: in the package that was named, or in the current folder."""
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
    except (OSError, ValueError):  # a name that no file can have
        return False
