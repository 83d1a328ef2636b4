"""Texts that are drawn side by side are those that are drawn alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HIDDEN, VOCAB

from jaxrnn import network
from jaxrnn.data import vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.scoring import sampling
from jaxrnn.scoring.ending import Limits
from jaxrnn.scoring.side_by_side import Job, draw_texts

KNOWN = Vocabulary("\n abcde")
PROMPTS = [[1, 2, 3], [4], list(range(VOCAB)) * 12]  # the last one is padded to 256


@pytest.fixture(scope="module", params=["elman", "gru"])
def eager(request):
    """A model with opinions: large weights."""
    model = network(request.param, VOCAB, HIDDEN)
    return model, jax.tree.map(lambda array: 4 * array, model.init(jax.random.key(3)))


def jobs(count):
    keys = [jax.random.fold_in(jax.random.key(0), number) for number in range(count)]
    return [Job(np.array(PROMPTS[i % 3], np.int32), key) for i, key in enumerate(keys)]


@pytest.mark.parametrize("how", [{"temperature": 0.7}, {"temperature": 1.3, "top_k": 3, "top_p": 0.9}])
def test_each_text_is_the_one_that_is_drawn_alone(eager, how):
    model, params = eager
    alone = [vocabulary.decode(KNOWN, sampling.sample(model, params, *job[:1], 150, key=job.key, **how)) for job in jobs(7)]
    for most in (1, 3, 7, 64):
        drawn = list(draw_texts(model, params, KNOWN, jobs(7), Limits(150), most=most, **how))
        assert [each.text for each in drawn] == alone


def test_they_end_at_different_places(eager):
    model, params = eager
    limits = Limits(90, "ab", exact_length=False)
    whole = [each.text for each in draw_texts(model, params, KNOWN, jobs(9), Limits(130))]
    drawn = [each.text for each in draw_texts(model, params, KNOWN, jobs(9), limits)]
    assert len({len(text) for text in drawn}) > 2
    for text, longer in zip(drawn, whole, strict=True):
        assert longer.startswith(text)
        assert "ab" not in text
    assert [each.text for each in draw_texts(model, params, KNOWN, jobs(2), Limits(0))] == ["", ""]
    assert list(draw_texts(model, params, KNOWN, [], Limits(5))) == []


@pytest.mark.parametrize("count", [1, 4])
def test_nats_are_those_of_the_model_itself_whatever_the_temperature(eager, count):
    model, params = eager
    step, how = jax.jit(model.step), {"temperature": 0.3, "top_k": 4}
    texts = draw_texts(model, params, KNOWN, jobs(count), Limits(80, "ca"), **how)
    for job, drawn in zip(jobs(count), texts, strict=True):
        carry, logits, expected = model.initial_carry(jax.random.split(job.key)[0], ()), jnp.zeros(()), 0.0
        for x in job.prompt_ids:
            carry, logits = step(params, carry, jnp.asarray(x))
        for y in vocabulary.encode(KNOWN, drawn.text):
            expected -= float(jax.nn.log_softmax(logits)[y])
            carry, logits = step(params, carry, jnp.asarray(y))
        assert drawn.nats == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_a_text_is_continued_from_any_character(eager):
    """From the point after the drawn characters the likeliest ones follow that followed them in the longer text."""
    model, params = eager
    how = {"temperature": 0.0, "top_k": 0, "top_p": 1.0}
    start = sampling.begin_text(model, params, *jobs(1)[0])
    whole = np.concatenate([ids for ids, _ in zip(sampling.draw_blocks(model, params, start, **how), range(4), strict=False)])
    for count in (0, 1, 64, 100):
        point = sampling.continue_text(model, params, start, whole[:count])
        assert point.block == -(-count // sampling.BLOCK)
        following = next(sampling.draw_blocks(model, params, point, **how))
        np.testing.assert_array_equal(following, whole[count : count + sampling.BLOCK])


def test_invalid_options_are_an_error(eager):
    model, params = eager
    with pytest.raises(InputError, match="temperature"):
        list(draw_texts(model, params, KNOWN, jobs(2), Limits(5), temperature=-1.0))
