"""Command-line arguments before tyro reads them: each flag once, its value joined to it, and values that begin with `-`."""

import dataclasses
import typing
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tyro

from jaxrnn.data import paths
from jaxrnn.errors import InputError

Settings = TypeVar("Settings")
TEXT_PATHS = ("text", "run_dir", "resume", "init_from")  # strings that may be paths; a known name does not begin with `~`
HELP = ("-h", "--help")


class Flags(NamedTuple):
    """The flags that a dataclass of settings has, without their dashes."""

    with_value: frozenset[str]
    switches: frozenset[str]  # a switch that is on by default is turned off with `--no-` before its name
    has_positional: bool


def joined(settings: type, arguments: Sequence[str]) -> list[str]:
    """The arguments with each flag and its value as one `--flag=value`, so that a value may begin with a dash.

    Raises:
      InputError: a flag that is given twice, has no value or an empty one; a switch with a value; an empty argument; a null
        character, which no shell gives but a caller from Python may.
    """
    for argument in arguments:
        if "\0" in argument:
            raise InputError(f"{argument!r} holds a null character, which no name or value may")
    flags, found, given = flags_of(settings), [], set()
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*found, argument, *rest]
        name, equals, value = argument.partition("=")
        flag, switch = _flag(name), _flag(name).removeprefix("no-")
        if not argument.startswith("--"):
            found.append(_positional(argument, flags))
        elif flag in flags.with_value:
            _check_new(flag, given)
            found.append(f"--{flag}={_value(flag, value if equals else next(rest, None), bool(equals), flags)}")
        elif {flag, switch} & flags.switches:
            _check_new(flag if flag in flags.switches else switch, given)
            if equals:
                raise InputError(f"{name} is a switch and takes no value; leave out {equals + value!r}")
            found.append(argument)
        else:
            found.append(argument)  # tyro knows what may have been meant
    return found


def flags_of(settings: type) -> Flags:
    """The flags of a dataclass, those of the dataclasses inside it included."""
    values, switches, has_positional = set(), set(), False
    for name, kind, positional in _fields(settings):
        has_positional = has_positional or positional
        if not positional:
            (switches if kind is bool else values).add(name.replace("_", "-"))
    return Flags(frozenset(values), frozenset(switches), has_positional)


def without_defaults(default: Any, arguments: Sequence[str]) -> list[str]:
    """Joined arguments without switches that stand as they say already: tyro knows only the one that turns a switch over.

    Args:
      default: the dataclass of settings, or an instance whose values are the defaults.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    values = {name.replace("_", "-"): value for name, value in _values(default) if isinstance(value, bool)}
    said = {f"--{name}" if value else f"--no-{name}" for name, value in values.items()}
    return [argument for argument in arguments[:end] if argument.replace("_", "-") not in said] + list(arguments[end:])


def with_homes(settings: Settings) -> Settings:
    """The same settings with `~` expanded in every path.

    Raises:
      InputError: a home folder that does not exist.
    """
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, settings)):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = with_homes(value)
        elif isinstance(value, Path):
            changed[field.name] = paths.expand_home(value)
        elif field.name in TEXT_PATHS and value.startswith("~"):
            changed[field.name] = str(paths.expand_home(value))
    return dataclasses.replace(typing.cast(Any, settings), **changed)


def _fields(settings: type) -> Iterator[tuple[str, Any, bool]]:
    """Name, type and whether it is positional, of each setting."""
    hints = typing.get_type_hints(settings, include_extras=True)
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        annotations = getattr(hint, "__metadata__", ())
        kind = hint.__origin__ if annotations else hint
        if dataclasses.is_dataclass(kind):
            yield from _fields(typing.cast(type, kind))
        else:
            yield field.name, kind, tyro.conf.Positional in annotations


def _values(default: Any) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(default):
        value = getattr(default, field.name, None)  # a class has its plain defaults as attributes
        if dataclasses.is_dataclass(value):
            yield from _values(value)
        else:
            yield field.name, value


def _flag(argument: str) -> str:
    return argument.removeprefix("--").replace("_", "-")


def _check_new(flag: str, given: set[str]) -> None:
    if flag in given:
        raise InputError(f"--{flag} is given twice; give it once")
    given.add(flag)


def _value(flag: str, value: str | None, after_equals: bool, flags: Flags) -> str:
    if value is None:
        raise InputError(f"--{flag} needs a value; --help lists what there is")
    if value == "":
        raise InputError(f"the value of --{flag} is empty; give one, or leave the flag out")
    if not after_equals and _is_flag(value, flags):
        raise InputError(f"--{flag} needs a value, and {value} is a flag; write --{flag}={value} if that is the value")
    return value


def _is_flag(argument: str, flags: Flags) -> bool:
    flag = _flag(argument.partition("=")[0])
    known = {flag, flag.removeprefix("no-")} & (flags.with_value | flags.switches)
    return argument in HELP or (argument.startswith("--") and bool(known))


def _positional(argument: str, flags: Flags) -> str:
    if argument == "":
        raise InputError("an argument is empty; give a value, or leave it out")
    if flags.has_positional and argument.startswith("-") and argument not in ("-", *HELP):
        raise InputError(f"no flag {argument}; write ./{argument} for a path of that name; --help lists what there is")
    return argument
