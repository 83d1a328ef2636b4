"""Check that a text is long enough for its parts, and suggest flags that would make it fit."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

from jaxrnn.config import auto, parts
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.data.files import quote_names
from jaxrnn.data.splitting import Lengths, split_lengths
from jaxrnn.errors import InputError

PART_NAMES = {"train": "training", "validation": "validation", "heldout": "held-out"}
FRACTIONS = (0.5, 0.4, 0.3, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005, 0.002, 0.001)  # those to suggest
MAX_CHARACTERS = 10**12  # the longest text to suggest


def check_lengths(config: Config, num_used: int, count_all: Callable[[], int]) -> None:
    """Raise `InputError` for a text that is too short, and suggest flags, each of which would make it fit.

    Args:
      num_used: number of characters in use.
      count_all: returns the length of the whole text, before --max-characters; called only if the text is too short.
    """
    part = find_too_short(config, num_used)
    if part:
        *others, last = list_remedies(config, count_all())
        fitting = f"{', '.join(others)} or {last}" if others else last
        raise InputError(f"text {quote_names(config.text.text)} is too short: {part}; use {fitting}")


def check_parts(config: Config, found: Lengths, num_documents: int) -> None:
    """Raise `InputError` if a part of a text of several documents is too short."""
    part = _describe_too_short(config, found)
    if part:
        raise InputError(
            f"text {quote_names(config.text.text)}, {num_documents} documents, is too short: {part}; use more documents, fewer "
            "--num-streams or a shorter --rule-length"
        )


def find_too_short(config: Config, num_characters: int) -> str:
    """Describe the first part that is too short; "" if none is."""
    used = count_used(config, num_characters)
    validation = auto.resolve_validation_fraction(config, used)
    return _describe_too_short(config, split_lengths(used, validation, config.text.heldout_fraction))


def _describe_too_short(config: Config, found: Lengths) -> str:
    settings = config.text
    wanted = {"train": parts.block_length(config) * config.learning.num_streams + 1}
    wanted |= {"heldout": 2} if settings.heldout_fraction else {}
    wanted |= {"validation": 2} if settings.validation_fraction else {}
    for name, least in wanted.items():
        if found._asdict()[name] < least:
            return f"the {PART_NAMES[name]} part gets {found._asdict()[name]:,} of its characters and needs {least:,} or more"
    return ""


def count_used(config: Config, num_characters: int) -> int:
    """Compute how many characters of a text of this length are in use."""
    return min(num_characters, config.text.max_characters or num_characters)


def list_remedies(config: Config, num_characters: int) -> list[str]:
    """List remedies for a text that is too short, each sufficient: flags with the nearest value, or a longer text.

    If no single flag suffices, the list holds the first pair of flags that does.
    """
    found = list(_single_flags(config, num_characters)) or list(itertools.islice(_two_flags(config, num_characters), 1))
    if not any("--max-characters" in remedy for remedy in found):
        needed = _lowest(lambda number: _fits(_with(config, "text", max_characters=0), number), MAX_CHARACTERS)
        if needed is not None:
            longer = f"a text of {needed:,} characters or more"
            found += [longer if count_used(config, needed) == needed else f"{longer} with --max-characters 0"]
    return found or ["another --heldout-fraction and --validation-fraction"]


def _single_flags(config: Config, num_characters: int) -> Iterator[str]:
    yield from _fewer(config, num_characters)
    yield from _other_fractions(config, num_characters)
    if num_characters > count_used(config, num_characters):
        most = _lowest(lambda most: _fits(_with(config, "text", max_characters=most), num_characters), num_characters)
        if most is not None:
            yield f"--max-characters {most}"


def _two_flags(config: Config, num_characters: int) -> Iterator[str]:
    """Yield pairs of flags: the first at its most helpful value, the second at the nearest sufficient one."""
    for name in _blocks(config):
        for second in _single_flags(_with(config, "learning", **{name: 1}), num_characters):
            yield f"{_flag(name)} 1 {second}"
    if num_characters > count_used(config, num_characters):
        for second in _single_flags(_with(config, "text", max_characters=0), num_characters):
            yield f"--max-characters 0 {second}"
    for name in ("heldout_fraction", "validation_fraction"):
        for fraction, changed in _with_fractions(config, name, num_characters):
            for second in _single_flags(changed, num_characters):
                yield f"{_flag(name)} {fraction} {second}"


def _blocks(config: Config) -> tuple[str, ...]:
    """Return the settings whose product is the number of characters of an update."""
    return ("num_streams", "rule_length") if parts.reads_blocks(config) else ("num_streams",)


def _fewer(config: Config, num_characters: int) -> Iterator[str]:
    for name in _blocks(config):
        fewer = _most_that_fit(config, name, num_characters)
        if fewer is not None:
            yield f"{_flag(name)} {fewer}"


def _most_that_fit(config: Config, name: str, num_characters: int) -> int | None:
    now = getattr(config.learning, name)
    less = _lowest(lambda less: _fits(_with(config, "learning", **{name: now - less}), num_characters), now - 1)
    return None if less is None else now - less


def _other_fractions(config: Config, num_characters: int) -> Iterator[str]:
    for name in ("heldout_fraction", "validation_fraction"):
        for fraction, changed in _with_fractions(config, name, num_characters):
            if _fits(changed, num_characters):
                yield f"{_flag(name)} {fraction}"
                break


def _with_fractions(config: Config, name: str, num_characters: int) -> Iterator[tuple[float, Config]]:
    """Yield other fractions of a part that leave something to train on, nearest first; none if there is no such part."""
    used, now = count_used(config, num_characters), getattr(config.text, name)
    number = auto.resolve_validation_fraction(config, used) if now == AUTO else now
    for fraction in sorted(FRACTIONS, key=lambda fraction: abs(fraction - number)) if number else ():
        changed = _with(config, "text", **{name: fraction})
        if auto.resolve_validation_fraction(changed, used) + changed.text.heldout_fraction < 1:
            yield fraction, changed


def _flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _fits(config: Config, num_characters: int) -> bool:
    return not find_too_short(config, num_characters)


def _with(config: Config, part: str, **values: Any) -> Config:
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **values)})


def _lowest(fits: Callable[[int], bool], highest: int) -> int | None:
    """Find by bisection a number from 1 that fits while the one before does not; None if `highest` does not fit."""
    if highest < 1 or not fits(highest):
        return None
    low, high = 0, highest
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle, high)
    return high
