import dataclasses

import jax
import numpy as np
import pytest

from jaxrnn.config import build, settings
from jaxrnn.data import text, vocabulary


def test_each_use_of_random_numbers_and_each_seed_has_a_key_of_its_own():
    """None is that of the seed itself, from which others may be split elsewhere; and a seed gives the same again."""
    keys = [key for seed in (0, 1) for key in (jax.random.key(seed), *build.make_keys(seed))]
    numbers = [tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in keys]
    assert len(set(numbers)) == 10
    assert [tuple(np.asarray(jax.random.key_data(key)).tolist()) for key in build.make_keys(1)] == numbers[-4:]


@pytest.mark.parametrize(("most", "used"), [(0, 73_879), (50_000, 50_000), (10**9, 73_879)])
def test_as_many_characters_are_read_as_the_flag_says(most, used):
    data = build.load_data(dataclasses.replace(settings.Config(), text=settings.TextConfig(max_characters=most)))
    assert (data.num_used, data.num_characters) == (used, 73_879)
    assert len(data.train) + len(data.validation) + len(data.heldout) == used


def test_a_known_vocabulary_only_grows():
    known = vocabulary.of_text("aé€")
    data = build.load_data(settings.Config(), known)
    assert set(data.vocabulary.characters) == {*build.load_data(settings.Config()).vocabulary.characters, "€"}
    assert vocabulary.decode(data.vocabulary, data.train[:20]) == text.read("comedie")[:20]
