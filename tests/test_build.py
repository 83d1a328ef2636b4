import dataclasses

import jax
import numpy as np
import pytest

from jaxrnn.config import build, parts, settings
from jaxrnn.data import text, vocabulary


def key_numbers(key):
    return tuple(np.asarray(jax.random.key_data(key)).tolist())


def test_each_use_of_random_numbers_and_each_seed_has_a_key_of_its_own():
    """None is that of the seed itself, from which others may be split elsewhere; and a seed gives the same again."""
    keys = [key for seed in (0, 1) for key in (jax.random.key(seed), *build.make_keys(seed))]
    numbers = [key_numbers(key) for key in keys]
    assert len(set(numbers)) == 10
    assert [key_numbers(key) for key in build.make_keys(1)] == numbers[-4:]


def test_the_keys_of_a_seed_are_those_of_runs_saved_before():
    """They were split from the root key then."""
    before = jax.random.split(jax.random.key(3), 4)
    assert [key_numbers(key) for key in build.make_keys(3)] == [key_numbers(key) for key in before]
    epoch = jax.random.fold_in(before[1], 2)
    assert key_numbers(build.make_epoch_key(3, 2)) == key_numbers(epoch)


@pytest.mark.parametrize(("most", "used"), [(0, 73_879), (50_000, 50_000), (10**9, 73_879)])
def test_as_many_characters_are_read_as_the_flag_says(most, used):
    data = build.load_data(dataclasses.replace(settings.Config(), text=settings.TextConfig(max_characters=most)))
    assert (data.num_used, data.num_characters) == (used, 73_879)
    assert len(data.train) + len(data.validation) + len(data.heldout) == used


def test_the_validation_part_comes_from_several_places_before_the_held_out_part():
    used = "".join(map(chr, range(0x4E00, 0x4E00 + 20_000)))  # all characters differ
    config = settings.PRESETS["gru"]
    data = build.split_data(config, build.use_text(config, parts.Text(used)))
    train, validation, heldout = (
        vocabulary.decode(data.vocabulary, part) for part in (data.train, data.validation, data.heldout)
    )
    assert (len(train), len(validation), heldout) == (17_000, 1_000, used[18_000:])
    assert validation == used[4_250:4_750] + used[13_250:13_750]
    assert train == used[:4_250] + used[4_750:13_250] + used[13_750:18_000]


def test_a_known_vocabulary_only_grows():
    known = vocabulary.of_text("aé€")
    data = build.load_data(settings.Config(), known)
    assert set(data.vocabulary.characters) == {*build.load_data(settings.Config()).vocabulary.characters, "€"}
    assert vocabulary.decode(data.vocabulary, data.train[:20]) == text.read("comedie")[:20]
