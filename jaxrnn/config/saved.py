"""Convert settings to JSON and back, as they are saved with a run or a file of weights."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jaxrnn.config.settings import Config, DeviceConfig, EvaluationConfig, LearningConfig, ModelConfig, RunConfig, TextConfig
from jaxrnn.config.trust import check_trust, naming_code
from jaxrnn.errors import InputError

RENAMED_RULES = {"snap1": "snap1_lookahead", "snap_n": "snap_n_lookahead"}  # their first names now mean other rules
RULE_NAMES = 2  # version of the rules' names; higher whenever one changes its meaning


def config_to_json(config: Config) -> dict[str, dict[str, Any]]:
    """Convert settings to plain dicts, which `config_from_json` reads; what the user trusts is not saved."""
    settings = dataclasses.asdict(config)
    del settings["run"]["trust"]
    if _renamed(config.learning.rule):
        settings["learning"]["rule_names"] = RULE_NAMES
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
    settings = _with_present_name(settings)
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


def _with_present_name(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Translate the rule's name in the settings of an older run; raise `InputError` if they are of a newer version."""
    learning = settings.get("learning")
    if not isinstance(learning, Mapping):
        return settings
    version, others = learning.get("rule_names", 1), {name: value for name, value in learning.items() if name != "rule_names"}
    if version not in range(1, RULE_NAMES + 1):
        raise InputError(f"its rule_names are {version!r}, but this jaxrnn reads 1 to {RULE_NAMES}; a newer one saved it")
    if version < RULE_NAMES and (name := _renamed(others.get("rule"))):
        others["rule"] = RENAMED_RULES[name]
    return {**settings, "learning": others}


def _renamed(rule: Any) -> str:
    """Return a rule's name without its package if its meaning has changed, else ""."""
    package, _, name = rule.rpartition(":") if isinstance(rule, str) else ("", "", "")
    return name if name in RENAMED_RULES and package.partition(".")[0] in ("", "jaxrnn") else ""


def _are_names(value: Any) -> bool:
    return isinstance(value, tuple) and len(value) > 1 and all(isinstance(each, str) for each in value)
