import dataclasses
import json
import math
from pathlib import Path

import pytest

from jaxrnn.config import settings as configs
from jaxrnn.config.auto import choose_rate, resolve_auto
from jaxrnn.config.resolve import Given, resolve
from jaxrnn.config.saved import config_from_json, config_to_json
from jaxrnn.config.settings import PRESETS
from jaxrnn.config.validate import check_config
from jaxrnn.errors import InputError
from jaxrnn.runs.resume import check_settings
from jaxrnn.train import parse


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_allowed_and_survive_json(preset):
    check_config(PRESETS[preset])
    assert config_from_json(json.loads(json.dumps(config_to_json(PRESETS[preset])))) == PRESETS[preset]


def test_a_flag_overrides_the_preset():
    given = parse(["mikolov2010", "--hidden-size", "7", "--text", "moliere"])
    preset, config = given.preset, resolve(given)
    assert preset == "mikolov2010"
    expected = PRESETS["mikolov2010"]
    assert config.model == dataclasses.replace(expected.model, hidden_size=7)
    assert config.text == dataclasses.replace(expected.text, text="moliere")
    assert config.learning == expected.learning


def test_the_default_preset_is_the_course():
    given = parse([])
    config = resolve(given)
    assert (given.preset, config) == (None, PRESETS["notebook"])
    assert (config.text.max_characters, config.model.hidden_size, config.learning.epochs) == (50_000, 128, 10)
    assert (choose_rate(config), config.model.initialisation) == (0.1, "pytorch")


def test_an_unknown_preset_names_the_known_ones():
    with pytest.raises(InputError, match="no preset 'gpt'; known: notebook, mikolov2010"):
        parse(["gpt"])


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("hidden-size", 0), ("learning-rate", 0.0), ("learning-rate", math.nan), ("learning-rate", -1.0),
        ("learning-rate", 1e-60), ("learning-rate", 1e39), ("epochs", 0), ("num-streams", 0),
        ("max-characters", -1), ("heldout-fraction", -0.1), ("heldout-fraction", 1.0), ("validation-fraction", -0.1),
        ("validation-fraction", 0.95), ("validation-pieces", 0), ("validation-pieces", 1_001), ("dynamic-rate", math.inf),
        ("seed", -1), ("updates-per-call", 0),
        ("sample-length", -1), ("clip-norm", -1.0), ("clip-norm", math.nan), ("save-every-seconds", -1.0),
        ("save-every-seconds", math.nan), ("keep-checkpoints", 0), ("rare-threshold", -1),
    ],
)  # fmt: skip
def test_a_wrong_value_names_its_flag(flag, value):
    config = resolve(parse([f"--{flag}={value}"]))
    with pytest.raises(InputError, match=f"--{flag}.* is .*; it must be "):
        check_config(config)


def test_halving_needs_a_validation_part():
    with pytest.raises(InputError, match="needs a validation part"):
        check_config(resolve(parse(["--schedule", "halving"])))


def test_a_setting_that_an_older_version_did_not_have_is_at_its_default():
    settings = config_to_json(PRESETS["mikolov2010"])
    del settings["learning"]["clip_norm"]
    assert config_from_json(settings) == PRESETS["mikolov2010"]


@pytest.mark.parametrize("rule", ["snap1", "snap_n"])
def test_a_run_keeps_its_rule_when_the_rule_gets_another_name(rule):
    """It was saved when `snap1` and `snap_n` were the names of what takes one exact step back."""
    config = resolve(parse(["--rule", rule]))
    saved = config_to_json(config)
    assert config_from_json(saved) == config
    del saved["learning"]["rule_names"]
    assert config_from_json(saved).learning.rule == f"{rule}_lookahead"
    saved["learning"]["rule"] = f"jaxrnn.rules:{rule}"
    assert config_from_json(saved).learning.rule == f"{rule}_lookahead"
    del saved["learning"]["rule"]
    assert config_from_json(saved).learning.rule == "one_step"


def test_rules_are_named_as_ever_where_no_name_has_changed():
    assert "rule_names" not in config_to_json(PRESETS["gru"])["learning"]
    saved = config_to_json(resolve(parse(["--rule", "my_rules:snap1"])))
    assert "rule_names" not in saved["learning"]
    assert config_from_json(saved, trust=["my_rules"]).learning.rule == "my_rules:snap1"


@pytest.mark.parametrize("version", [3, None, "2"])
def test_a_later_version_of_the_rules_names_is_an_error(version):
    saved = config_to_json(resolve(parse(["--rule", "snap1"])))
    saved["learning"]["rule_names"] = version
    with pytest.raises(InputError, match=f"its rule_names are {version!r}, but this jaxrnn reads 1 to 2"):
        config_from_json(saved)


def test_a_run_begun_with_the_validation_part_at_the_end_keeps_it():
    """Also when the same command is typed again: its preset spreads the validation part in new runs."""
    saved = config_to_json(resolve_auto(PRESETS["gru"], 1_000_000))
    del saved["text"]["validation_pieces"]  # as it was saved before there were several
    begun = config_from_json(saved)
    assert begun.text.validation_pieces == 1
    for flags in (["--resume", "run"], ["gru", "--resume", "run"], ["gru", "--resume", "auto"]):
        config = resolve(parse(flags), begun)
        assert config.text.validation_pieces == 1
        check_settings(configs.portable(config), begun, Path("run"))
    with pytest.raises(InputError, match="--validation-pieces is 6, but the run in 'run' was started with 1"):
        check_settings(resolve(parse(["--resume", "run", "--validation-pieces", "6"]), begun), begun, Path("run"))


@pytest.mark.parametrize(("preset", "num_characters", "pieces"), [
    ("gru", 1_700_000, 6), ("lstm", 60_000, 6), ("gru", 20_000, 2), ("gru", 6_000, 1), ("notebook", 60_000, 1),
    ("mikolov2010", 60_000, 1),
])  # fmt: skip
def test_the_validation_part_is_spread_in_pieces_that_are_long_enough(preset, num_characters, pieces):
    config = resolve_auto(PRESETS[preset], num_characters)
    assert config.text.validation_pieces == pieces
    inherited = resolve_auto(resolve(Given(None, {"init_from": "other"}), origin=config), num_characters)
    assert inherited.text.validation_pieces == pieces


@pytest.mark.parametrize("newer", [{"learning": {"momentum": 0.9}}, {"momentum": {}}])
def test_a_setting_of_a_newer_version_is_an_error(newer):
    with pytest.raises(InputError, match="hold 'momentum', which this version does not know"):
        config_from_json(config_to_json(PRESETS["notebook"]) | newer)


def test_the_name_of_a_file_holds_in_every_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = resolve(parse(["--text", "mine.txt", "--init-from", "other"]))
    assert configs.portable(config).text.text == str(tmp_path / "mine.txt")
    assert configs.portable(config).run.init_from == str(tmp_path / "other")
    assert configs.portable(PRESETS["notebook"]) == PRESETS["notebook"]


def test_where_a_run_is_does_not_belong_to_its_settings():
    assert configs.portable(resolve(parse(["--run-dir", "here", "--resume", "auto"]))) == PRESETS["notebook"]


def test_a_folder_may_be_called_like_a_preset():
    assert resolve(parse(["--run-dir", "notebook"])).run.run_dir == "notebook"
