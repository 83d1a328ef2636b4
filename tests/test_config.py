import dataclasses
import json
import math

import pytest

from jaxrnn.config import settings as configs
from jaxrnn.config.auto import choose_rate
from jaxrnn.config.resolve import resolve
from jaxrnn.config.settings import PRESETS
from jaxrnn.config.validate import check_config
from jaxrnn.errors import InputError
from jaxrnn.train import parse


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_allowed_and_survive_json(preset):
    check_config(PRESETS[preset])
    assert configs.config_from_json(json.loads(json.dumps(configs.config_to_json(PRESETS[preset])))) == PRESETS[preset]


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
        ("max-characters", -1), ("heldout-fraction", 0.0), ("heldout-fraction", 1.0), ("validation-fraction", -0.1),
        ("validation-fraction", 0.95), ("dynamic-rate", math.inf), ("seed", -1), ("updates-per-call", 0),
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
    settings = configs.config_to_json(PRESETS["mikolov2010"])
    del settings["learning"]["clip_norm"]
    assert configs.config_from_json(settings) == PRESETS["mikolov2010"]


@pytest.mark.parametrize("newer", [{"learning": {"momentum": 0.9}}, {"momentum": {}}])
def test_a_setting_of_a_newer_version_is_an_error(newer):
    with pytest.raises(InputError, match="hold 'momentum', which this version does not know"):
        configs.config_from_json(configs.config_to_json(PRESETS["notebook"]) | newer)


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
