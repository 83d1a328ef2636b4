import dataclasses

import jax
import numpy as np
import pytest

from jaxrnn.config import build, settings
from jaxrnn.data import text, vocabulary


def test_the_keys_of_a_run_are_all_different():
    drawn = [np.asarray(jax.random.key_data(key)).tolist() for seed in (0, 1) for key in build.make_keys(seed)]
    assert len({tuple(key) for key in drawn}) == 8


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
