"""Convert settings to JSON and back, as they are saved with a run or a file of weights."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrnn.config.settings import Config, DeviceConfig, EvaluationConfig, LearningConfig, ModelConfig, RunConfig, TextConfig
from jaxrnn.config.trust import check_trust, naming_code
from jaxrnn.errors import InputError


def config_to_json(config: Config) -> dict[str, dict[str, Any]]:
    """Convert settings to plain dicts, which `config_from_json` reads; what the user trusts is not saved."""
    settings = dataclasses.asdict(config)
    del settings["run"]["trust"]
    return settings


def config_from_json(settings: Mapping[str, Mapping[str, Any]], trust: Sequence[str] = ()) -> Config:
    """Read the settings of a saved run. A setting that it lacks gets its default, which stands for the old behaviour.

    Args:
      trust: packages whose code the settings may name; nothing is imported here.
    Raises:
      InputError: a setting is unknown to this version.
      Untrusted: a setting names code that is not trusted.
    """
    parts: dict[str, Any] = {
        "text": TextConfig,
        "model": ModelConfig,
        "learning": LearningConfig,
        "evaluation": EvaluationConfig,
        "device": DeviceConfig,
        "run": RunConfig,
    }
    for name, values in settings.items():
        unknown = set(values) - {field.name for field in dataclasses.fields(parts[name])} if name in parts else {name}
        if unknown:
            raise InputError(f"its settings hold {sorted(unknown)[0]!r}, which this version does not know")
    values = {name: dict(settings.get(name, {})) for name in parts}
    if isinstance(values["text"].get("text"), list):  # JSON has no tuples
        values["text"]["text"] = tuple(values["text"]["text"])
    values["device"].setdefault("precision", "float32")  # not `auto`: a run saved before there was a choice
    config = Config(**{name: part(**values[name]) for name, part in parts.items()})
    for name, value in naming_code(config).items():
        if not (isinstance(value, str) or (name == "text" and _are_names(value))):
            raise InputError(f"its setting {name!r} is {value!r}; it must be a name")
    config = dataclasses.replace(config, run=dataclasses.replace(config.run, trust=""))
    check_trust(config, trust)
    return config


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 1 and all(isinstance(each, str) for each in value)
