"""Texts that are too short: each flag that the message names makes them fit."""

import dataclasses
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli_errors import error_of

from jaxrnn import lengths, train
from jaxrnn.config import PRESETS
from jaxrnn.train import parse


def changed(config, part, **values):
    return dataclasses.replace(config, **{part: dataclasses.replace(getattr(config, part), **values)})


def remedies(arguments, num_characters):
    _, config = parse(arguments)
    return lengths.remedies(config, num_characters)


@pytest.mark.parametrize(
    ("arguments", "num_characters", "expected"),
    [
        (["--num-streams", "5000", "--max-characters", "2000"], 73_879, ["--num-streams 1799", "--max-characters 5557"]),
        (["--max-characters", "4"], 100, ["--heldout-fraction 0.4", "--max-characters 15"]),
        (["--validation-fraction", "0.05"], 20, ["--validation-fraction 0.1", "a text of 30 characters or more"]),
        (["gru"], 1_500, ["--num-streams 19", "--rule-length 39", "a text of 2,410 characters or more"]),
        ([], 2, ["a text of 15 characters or more"]),
    ],
)
def test_the_flags_that_make_a_text_fit_come_with_their_values(arguments, num_characters, expected):
    assert remedies(arguments, num_characters) == expected


@settings(deadline=None, max_examples=200)
@given(
    st.sampled_from(list(PRESETS)),
    st.integers(2, 5_000),
    st.integers(1, 600),
    st.integers(1, 100),
    st.integers(0, 3_000),
    st.floats(0.0001, 0.6),
)
def test_each_remedy_is_enough(preset, num_characters, num_streams, rule_length, most, heldout):
    config = changed(PRESETS[preset], "learning", num_streams=num_streams, rule_length=rule_length)
    config = changed(config, "text", max_characters=most, heldout_fraction=heldout)
    for remedy in lengths.remedies(config, num_characters) if lengths.too_short(config, num_characters) else ():
        number, mended = num_characters, config
        if longer := re.match(r"a text of ([\d,]+) characters", remedy):
            number = int(longer[1].replace(",", ""))
            remedy = "--max-characters 0" if "--max" in remedy else f"--max-characters {most}"
        flag, value = remedy.removeprefix("--").replace("-", "_").split()
        part = "text" if hasattr(config.text, flag) else "learning"
        mended = changed(config, part, **{flag: float(value) if "fraction" in flag else int(value)})
        assert not lengths.too_short(mended, number), remedy


def test_the_message_names_them(folder, capsys):
    message = error_of(capsys, train.main, ["--num-streams", "5000", "--max-characters", "2000"])
    assert message == (
        "error: text 'comedie' is too short: the training part gets 1,800 of its characters and needs 5,001 or more; "
        "to make it fit: --num-streams 1799 or --max-characters 5557\n"
    )
    assert "--max-characters is 1; it must be 0" in error_of(capsys, train.main, ["--max-characters", "1"])
