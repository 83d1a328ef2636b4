"""Texts that are too short: each flag that the message names makes them fit."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli_errors import error_of

from jaxrnn import train
from jaxrnn.config import auto, lengths
from jaxrnn.config.resolve import resolve
from jaxrnn.config.settings import PRESETS
from jaxrnn.train import parse


def changed(config, part, **values):
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **values)})


def remedies(arguments, num_characters):
    return lengths.list_remedies(resolve(parse(arguments)), num_characters)


@pytest.mark.parametrize(
    ("arguments", "num_characters", "expected"),
    [
        (["--num-streams", "5000", "--max-characters", "2000"], 73_879, ["--num-streams 1799", "--max-characters 5557"]),
        (["--max-characters", "4"], 100, ["--heldout-fraction 0.4", "--max-characters 15"]),
        (["--validation-fraction", "0.05"], 20, ["--validation-fraction 0.1", "a text of 30 characters or more"]),
        (["gru"], 1_500, ["--num-streams 19", "--rule-length 39", "a text of 2,410 characters or more"]),
        (["gru"], 30, ["--num-streams 1 --rule-length 24", "a text of 2,410 characters or more"]),
        (
            ["--num-streams", "9", "--heldout-fraction", "0.9"],
            10,
            ["--num-streams 1 --heldout-fraction 0.5", "a text of 96 characters or more"],
        ),
        ([], 2, ["a text of 15 characters or more"]),
    ],
)
def test_the_flags_that_make_a_text_fit_come_with_their_values(arguments, num_characters, expected):
    assert remedies(arguments, num_characters) == expected


def mended(config, flag, value):
    name = flag.removeprefix("--").replace("-", "_")
    part = "text" if hasattr(config.text, name) else "learning"
    return changed(config, part, **{name: float(value) if "fraction" in name else int(value)})


def fits(config, num_characters, remedy):
    """Whether a text of that length fits with the flags, or a text of the length that the remedy names."""
    if longer := re.match(r"a text of ([\d,]+) characters or more(?: with )?", remedy):
        num_characters, remedy = int(longer[1].replace(",", "")), remedy.removeprefix(longer[0])
    words = remedy.split()
    for flag, value in zip(words[::2], words[1::2], strict=True):
        config = mended(config, flag, value)
    fractions = config.text.heldout_fraction + auto.resolve_validation_fraction(
        config, lengths.count_used(config, num_characters)
    )
    return fractions < 1 and not lengths.find_too_short(config, num_characters)


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(list(PRESETS)),
    st.integers(2, 5_000) | st.integers(2, 60),
    st.integers(1, 600),
    st.integers(1, 100),
    st.integers(0, 3_000),
    st.floats(0.0001, 0.6),
    st.none() | st.floats(0.0001, 0.39),
)
def test_each_remedy_is_enough(preset, num_characters, num_streams, rule_length, most, heldout, validation):
    config = changed(PRESETS[preset], "learning", num_streams=num_streams, rule_length=rule_length)
    config = changed(config, "text", max_characters=most, heldout_fraction=heldout)
    config = config if validation is None else changed(config, "text", validation_fraction=validation)
    found = lengths.list_remedies(config, num_characters) if lengths.find_too_short(config, num_characters) else []
    for remedy in found:
        assert remedy.startswith("another") or fits(config, num_characters, remedy), remedy
    flags = [remedy.count("--") for remedy in found if remedy.startswith("--")]
    assert flags in ([2], [1] * len(flags))
    in_blocks = config.learning.rule == "bptt"
    fewest = changed(config, "learning", num_streams=1, rule_length=1 if in_blocks else rule_length)
    assert flags or not found or lengths.find_too_short(fewest, num_characters)


def test_the_message_names_them(folder, capsys):
    message = error_of(capsys, train.main, ["--num-streams", "5000", "--max-characters", "2000"])
    assert message == (
        "error: text 'comedie' is too short: the training part gets 1,800 of its characters and needs 5,001 or more; "
        "use --num-streams 1799 or --max-characters 5557\n"
    )
    assert "--max-characters is 1; it must be 0" in error_of(capsys, train.main, ["--max-characters", "1"])
