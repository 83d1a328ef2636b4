"""Parse command-line arguments into values of settings, by name.

A library's parser would have to be worked around: here each flag is given once, its value may begin with a dash, a switch may
repeat the default, and an error is one line. Only what was typed is in the result: a preset or a saved run gives the rest.
"""

import dataclasses
import difflib
import types
import typing
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jaxrnn.config.flags import Flag
from jaxrnn.data import paths
from jaxrnn.data.files import as_names
from jaxrnn.errors import InputError

Settings = TypeVar("Settings")
TEXT_PATHS = ("text", "run_dir", "resume", "init_from")  # strings that may be paths; no known name begins with `~`
QUESTIONS = {"-h": "help", "--help": "help", "--version": "version"}  # the names that they get among the values


class Setting(NamedTuple):
    """A field of a dataclass of settings."""

    name: str
    kind: Any  # its type, without annotations
    default: Any  # None if there is none
    is_required: bool
    flag: Flag
    owner: type  # the dataclass that it is a field of


def list_settings(settings: Any) -> Iterator[Setting]:
    """Yield each setting, including those of nested dataclasses.

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
        yield Setting(field.name, kind, default, field.default is dataclasses.MISSING, flag, owner)


def parse_values(settings: Any, arguments: Sequence[str]) -> dict[str, Any]:
    """Parse the values that were typed, by the names of the settings; `help` or `version` is among them if asked for.

    Raises:
      InputError: a flag does not exist, is given twice, or has no value or an invalid one; a switch has a value; an argument
        is missing, empty or one too many; there is a null character, which only a Python caller can pass.
    """
    for argument in arguments:
        if "\0" in argument:
            raise InputError(f"{argument!r} contains a null character, which is not allowed")
    found = list(list_settings(settings))
    flags = {name: setting for setting in found if not setting.flag.is_positional for name in _names(setting)}
    positionals = [setting for setting in found if setting.flag.is_positional]
    values, words, rest = {}, [], deque(arguments)
    while rest:
        argument = rest.popleft()
        if argument == "--":
            words.extend(rest)
            break
        if argument.partition("=")[0] in QUESTIONS:
            if "=" in argument:
                raise InputError(f"{argument.partition('=')[0]} takes no value")
            values[QUESTIONS[argument]] = True
        elif not argument.startswith("--"):
            words.append(_checked_word(argument, bool(positionals)))
        else:
            setting, value = _flag_value(argument, rest, flags)
            if setting.name in values:
                several = ", with all its values after it" if _takes_several(setting) else ""
                raise InputError(f"{_names(setting)[0]} is given twice; give it once{several}")
            values[setting.name] = value
    if values.keys() & {*QUESTIONS.values()}:
        return values
    words += _give_back(values, found, sum(setting.is_required for setting in positionals) - len(words))
    return values | _match_words(words, positionals)


def switch_of(name: str, value: bool) -> str:
    """Return the switch that sets a setting to this value."""
    return f"--{'' if value else 'no-'}{name.replace('_', '-')}"


def _names(setting: Setting) -> list[str]:
    """Return the flags of a setting; a switch has two."""
    return [switch_of(setting.name, value) for value in ((True, False) if setting.kind is bool else (True,))]


def _takes_several(setting: Setting) -> bool:
    """Return whether a flag takes all values that follow it; several become a tuple."""
    return any(typing.get_origin(kind) is tuple for kind in typing.get_args(setting.kind))


def _give_back(values: dict[str, Any], found: Sequence[Setting], num_missing: int) -> list[str]:
    """Take back the last values of a flag that takes several, if arguments are missing that may have followed it."""
    for setting in found:
        taken = values.get(setting.name)
        if num_missing > 0 and _takes_several(setting) and isinstance(taken, tuple) and len(taken) > num_missing:
            values[setting.name] = as_names(taken[:-num_missing])
            return list(taken[-num_missing:])
    return []


def _flag_value(argument: str, rest: deque[str], flags: Mapping[str, Setting]) -> tuple[Setting, Any]:
    """Return the setting of a flag and its value, which may be the next argument, or several."""
    typed, equals, value = argument.partition("=")
    name = typed.replace("_", "-")
    if name not in flags:
        similar = difflib.get_close_matches(name, flags, 1)
        raise InputError(f"no flag {typed}; {f'did you mean {similar[0]}?' if similar else 'see --help'}")
    setting = flags[name]
    if setting.kind is bool:
        if equals:
            raise InputError(f"{typed} is a switch and takes no value; leave out {equals + value!r}")
        return setting, name == switch_of(setting.name, True)
    following = value if equals else rest.popleft() if rest else None
    if following is None:
        raise InputError(f"{name} needs a value; see --help")
    if following == "":
        raise InputError(f"the value of {name} is empty; give one, or leave the flag out")
    if not equals and (following in QUESTIONS or following.partition("=")[0].replace("_", "-") in flags):
        raise InputError(f"{name} needs a value, and {following} is a flag; write {name}={following} if that is the value")
    if equals or not _takes_several(setting):
        return setting, _convert(name, following, setting)
    given = [following]
    while rest and not (rest[0].startswith("--") or rest[0] in QUESTIONS):
        given.append(_checked_word(rest.popleft(), are_expected=False))
    return setting, as_names(_convert(name, each, setting) for each in given)


def _checked_word(word: str, are_expected: bool) -> str:
    if word == "":
        raise InputError("an argument is empty; give a value, or leave it out")
    if are_expected and word.startswith("-") and word != "-":
        raise InputError(f"no flag {word}; write ./{word} for a path of that name")
    return word


def _match_words(words: Sequence[str], positionals: Sequence[Setting]) -> dict[str, Any]:
    """Assign words to the positional arguments, in order; one that takes several, the last, gets all the rest."""
    if positionals and positionals[-1].kind == tuple[str, ...]:
        *first, last = positionals
        rest = words[len(first) :]
        return _match_words(words[: len(first)], first) | ({last.name: tuple(rest)} if rest else {})
    if len(words) > len(positionals):
        raise InputError(f"unexpected argument {words[len(positionals)]!r}; see --help")
    for missing in positionals[len(words) :]:
        if missing.is_required:
            raise InputError(f"{missing.flag.value} is missing; see --help")
    given = zip(positionals, words, strict=False)
    return {setting.name: _convert(setting.flag.value, word, setting) for setting, word in given}


def _convert(name: str, typed: str, setting: Setting) -> Any:
    """Convert a value to the type of its setting, with `~` expanded if it may be a path.

    Raises:
      InputError: it has another type, or names a home folder that does not exist.
    """
    is_union = typing.get_origin(setting.kind) in (typing.Union, types.UnionType)
    kinds = [kind for kind in (typing.get_args(setting.kind) if is_union else [setting.kind]) if kind is not types.NoneType]
    for kind in kinds:
        if kind is Path or (setting.name in TEXT_PATHS and typed.startswith("~")):
            return kind(paths.expand_home(typed))
        if typed in typing.get_args(kind):
            return typed
        if typing.get_origin(kind) is None:
            try:
                return kind(typed)
            except ValueError:
                pass
    words = {int: ["a whole number"], float: ["a number"]}
    *others, last = [word for kind in kinds for word in words.get(kind, typing.get_args(kind))]
    raise InputError(f"{name} takes {', '.join(others)}{' or ' * bool(others)}{last}, not {typed!r}")
