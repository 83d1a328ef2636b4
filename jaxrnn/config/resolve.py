"""Resolve the settings of a run from flags, a preset, and the run that it resumes or starts from; no disk access."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from typing import Any, NamedTuple, TypeVar

from jaxrnn.config import auto
from jaxrnn.config.settings import AUTO, DEFAULT_PRESET, PRESETS, Config
from jaxrnn.errors import InputError

Settings = TypeVar("Settings")


class Given(NamedTuple):
    """The preset and flags that a user gave."""

    preset: str | None = None  # None if none was named
    values: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"Given({self.preset!r}, {dict(self.values)!r})"


def check_preset(preset: str | None) -> None:
    """Raise `InputError` unless there is a preset of this name; None means the default."""
    if preset is not None and preset not in PRESETS:
        similar = difflib.get_close_matches(preset, PRESETS, 1)
        meant = f"; did you mean {similar[0]}?" if similar else ""
        raise InputError(f"no preset {preset!r}; known: {', '.join(PRESETS)}{meant}")


def resolve(given: Given, saved: Config | None = None, origin: Config | None = None) -> Config:
    """Combine the settings of a run: given values override those of the saved run, or of its origin and the preset.

    Args:
      saved: settings of the run that is resumed. They are the defaults, unless a preset is named or `--resume auto` found the
        run; `auto` becomes the saved value if `auto` may have given it.
      origin: settings of the run or file whose weights a new run starts from; if it no longer exists, `saved` replaces it.
    Returns:
      The settings. In a new run some may be `auto`, until `auto.resolve_auto` knows the size of the text.
    """
    by_auto = given.values.get("resume") == AUTO
    if saved is not None and given.preset is None and not by_auto:
        return auto.resolve_auto_as_saved(with_values(saved, given.values), saved)
    origin = (origin or saved) if given.values.get("init_from") else None
    preset = PRESETS[given.preset or DEFAULT_PRESET]
    config = with_values(preset if origin is None else inherited_settings(origin, given.preset), given.values)
    if saved is None:
        return config
    if by_auto:  # the same command again, after the run got more epochs
        config = with_values(config, {"epochs": max(config.learning.epochs, saved.learning.epochs)})
    return auto.resolve_auto_as_saved(config, saved)


def inherited_settings(origin: Config, preset: str | None) -> Config:
    """Return the default settings of a run that starts from the weights of `origin`.

    With a preset, they are those of the preset with the origin's network. Without one, the run learns and is tested like the
    origin, with `auto` for rate, dropout and validation; the text and its form, --minutes, devices and folders are not.
    """
    if preset is not None:
        return dataclasses.replace(PRESETS[preset], model=origin.model)
    text, learning, default = origin.text, origin.learning, Config()
    validation = AUTO if text.validation_fraction else 0.0
    pieces = AUTO if text.validation_pieces != 1 else 1
    dropout = AUTO if learning.dropout or learning.weight_decay else 0.0  # 0: on a long text, where the weights decay instead
    return dataclasses.replace(
        default,
        text=dataclasses.replace(
            default.text,
            max_characters=text.max_characters,
            reset=text.reset,
            heldout_fraction=text.heldout_fraction,
            validation_fraction=validation,
            validation_pieces=pieces,
        ),
        model=origin.model,
        learning=dataclasses.replace(learning, learning_rate=AUTO, dropout=dropout, minutes=0.0),
        evaluation=origin.evaluation,
    )


def with_values(settings: Settings, values: Mapping[str, Any]) -> Settings:
    """Replace values by name, even in nested groups; no two groups share a name."""
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast(Any, settings)):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            changed[field.name] = with_values(value, values)
        elif field.name in values:
            changed[field.name] = values[field.name]
    return dataclasses.replace(typing.cast(Any, settings), **changed)
