"""Print a program's `--help` from the dataclass of its flags, grouped by subject, each flag with its text and default."""

import ast
import functools
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any, Literal, get_args, get_origin

from rich.console import Console
from rich.text import Text

from jaxrnn.console.arguments import Setting, list_settings, switch_of
from jaxrnn.console.layout import LEAST_ROOM, hang_text, wrap_words

MOST_COLUMNS = 100  # longer lines are hard to read
NAME_COLUMNS, NARROW_COLUMNS = 28, 6  # of a flag and its value; a longer one gets a line of its own
VALUES = {int: "INT", float: "FLOAT", str: "TEXT"}
ITEM = re.compile(r"  (\S+(?: \S+)*)  +(\S.*)")  # a line of a list in a description: a name and what it means
OTHER_FLAGS = {"-h, --help": "Show this help and exit.", "--version": "Print the version and exit."}


def print_help(program: str, description: str, settings: Any) -> None:
    """Print the help, wrapped to fit the terminal.

    Args:
      program: how it is started, such as `python -m jaxrnn.train [PRESET]`.
      description: paragraphs, and lists of lines `  NAME  text`.
      settings: the dataclass of flags, or an instance whose values are the defaults.
    """
    screen = Console(highlight=False, markup=False, emoji=False)
    for line in help_lines(program, description, settings, min(screen.width, MOST_COLUMNS)):
        screen.print(line, soft_wrap=True)


def help_lines(program: str, description: str, settings: Any, columns: int) -> Iterator[Text]:
    """Yield the lines of the help: usage, description, positional arguments, then the flags group by group."""
    found = list(list_settings(settings))
    positionals = [setting for setting in found if setting.flag.is_positional]
    flags = [setting for setting in found if not setting.flag.is_positional]
    words = [_value_name(each) if each.is_required else f"[{_value_name(each)}]" for each in positionals]
    yield from map(Text, hang_text("usage: ", " ".join([program, *words, "[--flags]"]), columns))
    yield Text()
    for line in description.strip().splitlines():
        item = ITEM.fullmatch(line)
        yield from map(Text, hang_text(f"  {item[1]:<13}", item[2], columns) if item else wrap_words(line, columns))
    yield from _section("Arguments", map(name_and_text, positionals), columns)
    for owner, group in itertools.groupby(flags, lambda setting: setting.owner):
        yield from _section((owner.__doc__ or "Options").partition("\n")[0].rstrip("."), map(name_and_text, group), columns)
    yield from _section("Help", OTHER_FLAGS.items(), columns)


@functools.cache
def read_texts(settings: type) -> dict[str, str]:
    """Read the text under each field of a dataclass."""
    try:
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(settings))).body
    except OSError:  # installed without its source
        return {}
    pairs = itertools.pairwise(tree.body if isinstance(tree, ast.ClassDef) else ())
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def name_and_text(setting: Setting) -> tuple[str, str]:
    """Return what is typed for a setting, and what it means; for a switch, the one that changes the dataclass's default."""
    text = setting.flag.text or read_texts(setting.owner).get(setting.name, "")
    if setting.kind is bool:
        is_changed = setting.default is not _class_default(setting)
        note = f" (default: {switch_of(setting.name, setting.default)})" if is_changed else ""
        return switch_of(setting.name, not _class_default(setting)), text + note
    name = _value_name(setting) if setting.flag.is_positional else f"{switch_of(setting.name, True)} {_value_name(setting)}"
    return name, text if setting.is_required else f"{text} (default: {_default_name(setting)})"


def _section(title: str, members: Iterable[tuple[str, str]], columns: int) -> Iterator[Text]:
    """Lay out flags and their texts below a heading; nothing if there are no flags."""
    width = NAME_COLUMNS if columns >= NAME_COLUMNS + LEAST_ROOM else NARROW_COLUMNS
    for number, (name, text) in enumerate(members):
        if number == 0:
            yield from (Text(), Text(title, style="bold"))
        head = f"  {name}"
        is_short = len(head) <= width - 2
        yield from map(Text, [] if is_short else [head])
        yield from map(Text, hang_text(head.ljust(width) if is_short else " " * width, text, columns))


def _default_name(setting: Setting) -> str:
    """Return the default as it would be typed, or in words where the dataclass's own default would say nothing."""
    default = setting.default
    if setting.flag.default and default == _class_default(setting):
        return setting.flag.default
    return f"{default:g}" if isinstance(default, float) else str(default)


def _class_default(setting: Setting) -> Any:
    """Return the default in the dataclass, which the text of a switch assumes, whatever the instance's value is."""
    return getattr(setting.owner, setting.name, None)


def _value_name(setting: Setting) -> str:
    """Return the placeholder of a value: `INT`, `FLOAT|auto`, `{sgd,adam}`."""
    if setting.flag.value or setting.flag.is_positional:
        return setting.flag.value or setting.name.upper()
    if get_origin(setting.kind) is Literal:
        return f"{{{','.join(get_args(setting.kind))}}}"
    kinds = get_args(setting.kind) or (setting.kind,)
    names = [get_args(kind) if get_origin(kind) is Literal else (VALUES.get(kind, ""),) for kind in kinds]
    return "|".join(filter(None, itertools.chain(*names)))
