"""Command-line arguments before tyro reads them: known flags, each once, its value joined to it, which may begin with `-`."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import tyro

from jaxrnn.config.flags import Flag
from jaxrnn.data import paths
from jaxrnn.errors import InputError

Settings = TypeVar("Settings")
TEXT_PATHS = ("text", "run_dir", "resume", "init_from")  # strings that may be paths; a known name does not begin with `~`
HELP = ("-h", "--help")


class Setting(NamedTuple):
    """A field of a dataclass of settings."""

    name: str
    kind: Any  # its type, without annotations
    default: Any  # None where there is none
    is_required: bool
    is_positional: bool
    flag: Flag
    owner: type  # the dataclass that it is a field of


class Flags(NamedTuple):
    """The flags that a dataclass of settings has, without their dashes."""

    with_value: Mapping[str, Any]  # to the type of the value
    switches: frozenset[str]  # a switch that is on by default is turned off with `--no-` before its name
    positionals: tuple[str, ...]
    num_required: int  # of the positionals, the first ones


def list_settings(settings: Any) -> Iterator[Setting]:
    """Yield each setting, those of dataclasses inside the dataclass included.

    Args:
      settings: the dataclass, or an instance whose values are the defaults.
    """
    owner = settings if isinstance(settings, type) else type(settings)
    hints = typing.get_type_hints(owner, include_extras=True)
    for field in dataclasses.fields(settings):
        hint = hints[field.name]
        annotations = getattr(hint, "__metadata__", ())
        kind = hint.__origin__ if annotations else hint
        default = getattr(settings, field.name, None)  # a class has its plain defaults as attributes
        if dataclasses.is_dataclass(kind):
            yield from list_settings(kind if default is None else default)
            continue
        flag = next((each for each in annotations if isinstance(each, Flag)), Flag())
        is_required = field.default is dataclasses.MISSING
        yield Setting(field.name, kind, default, is_required, tyro.conf.Positional in annotations, flag, owner)


def find_flags(settings: type) -> Flags:
    """Sort the settings of a dataclass into flags with a value, switches and positional arguments."""
    found = list(list_settings(settings))
    named = [setting for setting in found if not setting.is_positional]
    positional = [setting for setting in found if setting.is_positional]
    return Flags(
        with_value={_dashed(setting.name): setting.kind for setting in named if setting.kind is not bool},
        switches=frozenset(_dashed(setting.name) for setting in named if setting.kind is bool),
        positionals=tuple(setting.flag.value or setting.name.upper() for setting in positional),
        num_required=sum(setting.is_required for setting in positional),
    )


def join_values(settings: type, arguments: Sequence[str]) -> list[str]:
    """Join each flag and its value to one `--flag=value`, so that a value may begin with a dash.

    Raises:
      InputError: a flag that does not exist, is given twice, or has no value or a wrong one; a switch with a value; an empty
        argument; a null character, which no shell gives but a caller from Python may.
    """
    for argument in arguments:
        if "\0" in argument:
            raise InputError(f"{argument!r} holds a null character, which no name or value may")
    flags, found, given = find_flags(settings), [], set()
    rest = iter(arguments)
    for argument in rest:
        if argument == "--":
            return [*found, argument, *rest]
        name, equals, value = argument.partition("=")
        flag, switch = _flag(name), _flag(name).removeprefix("no-")
        if argument in (*HELP, "--version"):
            found.append(argument)
        elif not argument.startswith("--"):
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
            raise InputError(f"no flag {name}; {_suggestion(flag, flags)}")
    return found


def check_positionals(settings: type, joined: Sequence[str]) -> None:
    """Raise `InputError` if a positional argument is missing, or there is one too many."""
    flags = find_flags(settings)
    end = joined.index("--") if "--" in joined else len(joined)
    given = [argument for argument in joined[:end] if not argument.startswith("--")] + list(joined[end + 1 :])
    if len(given) < flags.num_required:
        raise InputError(f"{flags.positionals[len(given)]} is missing; see --help")
    if len(given) > len(flags.positionals):
        raise InputError(f"unexpected argument {given[len(flags.positionals)]!r}; see --help")


def drop_redundant_switches(default: Any, arguments: Sequence[str]) -> list[str]:
    """Drop the switches that stand as they say already: tyro knows only the one that turns a switch over.

    Args:
      default: the dataclass of settings, or an instance whose values are the defaults.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    switches = [setting for setting in list_settings(default) if setting.kind is bool]
    redundant = {switch_of(setting.name, setting.default) for setting in switches}
    return [argument for argument in arguments[:end] if _dashed(argument) not in redundant] + list(arguments[end:])


def switch_of(name: str, value: bool) -> str:
    """The switch that gives a setting this value."""
    return f"--{'' if value else 'no-'}{_dashed(name)}"


def expand_homes(settings: Settings) -> Settings:
    """Expand `~` in every path among the settings.

    Raises:
      InputError: a home folder that does not exist.
    """
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, settings)):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = expand_homes(value)
        elif isinstance(value, Path):
            changed[field.name] = paths.expand_home(value)
        elif field.name in TEXT_PATHS and value.startswith("~"):
            changed[field.name] = str(paths.expand_home(value))
    return dataclasses.replace(typing.cast(Any, settings), **changed)


def _dashed(name: str) -> str:
    return name.replace("_", "-")


def _flag(argument: str) -> str:
    return _dashed(argument.removeprefix("--"))


def _check_new(flag: str, given: set[str]) -> None:
    if flag in given:
        raise InputError(f"--{flag} is given twice; give it once")
    given.add(flag)


def _value(flag: str, value: str | None, after_equals: bool, flags: Flags) -> str:
    if value is None:
        raise InputError(f"--{flag} needs a value; see --help")
    if value == "":
        raise InputError(f"the value of --{flag} is empty; give one, or leave the flag out")
    if not after_equals and _is_flag(value, flags):
        raise InputError(f"--{flag} needs a value, and {value} is a flag; write --{flag}={value} if that is the value")
    kinds = typing.get_args(flags.with_value[flag]) if _is_union(flags.with_value[flag]) else (flags.with_value[flag],)
    if not any(_is_of_kind(value, kind) for kind in kinds):
        allowed = ", ".join(name for kind in kinds for name in _names_of(kind))
        raise InputError(f"--{flag} takes {' or '.join(allowed.rsplit(', ', 1))}, not {value!r}")
    return value


def _is_union(kind: Any) -> bool:
    return typing.get_origin(kind) in (typing.Union, types.UnionType)


def _is_of_kind(value: str, kind: Any) -> bool:
    if typing.get_origin(kind) is typing.Literal:
        return value in typing.get_args(kind)
    try:
        return kind is not types.NoneType and kind(value) is not None
    except ValueError:
        return False


def _names_of(kind: Any) -> Sequence[str]:
    names = {int: ["a whole number"], float: ["a number"], types.NoneType: []}
    return names.get(kind, typing.get_args(kind) or ["text"])


def _is_flag(argument: str, flags: Flags) -> bool:
    flag = _flag(argument.partition("=")[0])
    known = {flag, flag.removeprefix("no-")} & ({*flags.with_value} | flags.switches)
    return argument in HELP or (argument.startswith("--") and bool(known))


def _suggestion(flag: str, flags: Flags) -> str:
    known = [*flags.with_value, *flags.switches, *(f"no-{switch}" for switch in flags.switches)]
    similar = difflib.get_close_matches(flag, sorted(known), 1)
    return f"did you mean --{similar[0]}?" if similar else "see --help"


def _positional(argument: str, flags: Flags) -> str:
    if argument == "":
        raise InputError("an argument is empty; give a value, or leave it out")
    if flags.positionals and argument.startswith("-") and argument != "-":
        raise InputError(f"no flag {argument}; write ./{argument} for a path of that name")
    return argument
