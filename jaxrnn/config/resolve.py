"""Resolve the settings of a run from flags, a preset, and the run that it resumes or starts from; no disk access."""

import dataclasses
import difflib
import typing
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from jaxrnn.config import auto
from jaxrnn.config.settings import AUTO, DEFAULT_PRESET, PRESETS, Config, EvaluationConfig
from jaxrnn.errors import InputError

Settings = TypeVar("Settings")
EVALUATION = {field.name for field in dataclasses.fields(EvaluationConfig)}
# Settings that may change when a run is resumed by its name: results depend on them, but neither the meaning of the saved
# arrays nor the position in the text.
CHANGEABLE = {"epochs", "minutes", "learning_rate", "weight_decay", "dropout", "schedule", "clip_norm", "sample_length"}
CHANGEABLE |= EVALUATION


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


def resolve_resumed(
    given: Given, current: Config, history: Sequence[Mapping[str, Any]], origin: Config | None = None
) -> Config:
    """Resolve the settings of a resumed run from what was typed and its current settings.

    A setting that was changed since the run began stays in force, unless it is typed together with the run's name. So the
    command that began a run also resumes it after a change.

    Args:
      history: the run's metrics.
    """
    config, typed = resolve(given, current, origin), typed_names(given)
    if "epochs" in typed and "minutes" not in typed:  # from now on the epochs count
        config, typed = with_values(config, {"minutes": 0.0}), typed | {"minutes"}
    now, then = values_by_name(config), values_by_name(current)
    first: dict[str, Any] = {}  # the values that the run was begun with
    for event in history:
        if event["event"] == "changed" and isinstance(event.get("from"), dict):
            first = {**event["from"], **first}
    kept = {name for name in (first.keys() & CHANGEABLE) - typed if now[name] in (first[name], then[name])}
    return with_values(config, {name: then[name] for name in kept})


def typed_names(given: Given) -> set[str]:
    """Return the names of the settings that were given together with the name of the run to resume."""
    return set(given.values) if given.values.get("resume") not in (None, AUTO) else set()


def changeable_names(given: Given) -> set[str]:
    """Return the names of the settings that may change in the run to resume."""
    typed = typed_names(given)
    return (typed | ({"minutes"} if "epochs" in typed else set())) & CHANGEABLE


def values_by_name(config: Config) -> dict[str, Any]:
    """Return all settings by name; no two groups share a name."""
    groups = (getattr(config, part.name) for part in dataclasses.fields(config))
    return {name: value for group in groups for name, value in vars(group).items()}


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
