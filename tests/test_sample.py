import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from conftest import HIDDEN, VOCAB
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxrnn import elman
from jaxrnn import sample as program
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models.cells import cell_kind
from jaxrnn.models.dense import Elman
from jaxrnn.models.network import network, with_cell
from jaxrnn.scoring import sampling
from jaxrnn.scoring.sampling import BLOCK, nucleus, sample

PROMPT = np.array([1, 2, 3], np.int32)


@pytest.fixture(scope="module")
def eager():
    """A model with opinions: large weights."""
    model = elman(VOCAB, HIDDEN)
    return model, jax.tree.map(lambda array: 4 * array, model.init(jax.random.key(3)))


def write(eager, length, seed=0, **how):
    model, params = eager
    return sample(model, params, PROMPT, length, key=jax.random.key(seed), **how).tolist()


def test_the_same_key_gives_the_same_text(eager):
    texts = [write(eager, 200, seed) for seed in (0, 0, 1)]
    assert texts[0] == texts[1] != texts[2]


def test_a_longer_sample_begins_with_the_shorter_one(eager):
    long = write(eager, 3 * BLOCK + 5)
    for length in (0, 1, BLOCK, BLOCK + 1):
        assert write(eager, length) == long[:length]


@pytest.mark.parametrize(
    "how", [{"temperature": 0.0}, {"top_k": 1}, {"top_p": 1e-6}, {"top_p": 1e-60}, {"temperature": 0.0, "top_p": 0.5}]
)
def test_the_likeliest_characters_are_those_of_the_witness(eager, how):
    model, params = eager
    carry = model.initial_carry(jax.random.split(jax.random.key(0))[0], ())
    weights = reference.to_float64(params)
    h, logits = reference.after(weights, np.asarray(carry, np.float64), PROMPT)
    expected = []
    for _ in range(100):
        expected.append(int(logits.argmax()))
        h, logits = reference.step(weights, h, expected[-1])
    assert write(eager, 100, **how) == expected


def test_a_kernel_draws_from_thousands_of_characters():
    """XLA would split the noise for so many over the cores; inside a kernel JAX 0.10 then failed to compile."""
    model = network("gru", 3_000, 8)
    params = jax.tree.map(lambda array: 4 * array, model.init(jax.random.key(3)))
    assert write((model, params), 2 * BLOCK) == write((model._replace(fits_one_kernel=False), params), 2 * BLOCK)


def test_more_characters_than_there_are_can_be_drawn_among(eager):
    assert write(eager, 50, top_k=10**12) == write(eager, 50, top_k=VOCAB)


@pytest.mark.parametrize("how", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_p": 0.0}, {"top_k": -1}])
def test_invalid_sampling_options_are_an_error(eager, how):
    with pytest.raises(InputError, match="it must be"):
        write(eager, 0, **how)


def test_an_empty_prompt_is_an_error(eager):
    model, params = eager
    with pytest.raises(InputError, match="prompt is empty"):
        sample(model, params, PROMPT[:0], 5, key=jax.random.key(0))


def test_the_whole_prompt_warms_the_state_up(eager):
    model, params = eager
    carry = model.initial_carry(jax.random.key(0), ())
    new_carry, logits = sampling.read_prompt(model)(params, carry, jnp.asarray(PROMPT))
    h, expected = reference.after(reference.to_float64(params), np.asarray(carry, np.float64), PROMPT)
    np.testing.assert_allclose(new_carry, h, rtol=1e-5)
    np.testing.assert_allclose(logits, expected, rtol=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_characters_come_as_often_as_the_model_holds_them_likely(temperature):
    """A model without memory of anything: zero weights, and a readout bias that says the probabilities."""
    model = elman(4, 2)
    logits = np.log([0.5, 0.3, 0.15, 0.05]).astype(np.float32)
    params = jax.tree.map(jnp.zeros_like, model.init(jax.random.key(0)))
    params["readout"]["bias"] = jnp.asarray(logits)
    drawn = sample(model, params, PROMPT[:1], 20_000, key=jax.random.key(0), temperature=temperature)
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    np.testing.assert_allclose(np.bincount(drawn, minlength=4) / 20_000, expected, atol=0.012)


@settings(deadline=None, max_examples=60)
@given(st.permutations(range(6)), st.integers(0, 8), st.floats(0.01, 1.0), st.floats(0.1, 3.0))
def test_the_nucleus_is_the_smallest_set_that_holds_the_probability(order, top_k, top_p, temperature):
    logits = np.array([3.0, 2.0, 1.0, 0.0, -1.5, -4.0], np.float32)[list(order)]
    kept = np.asarray(nucleus(jnp.asarray(logits), jnp.float32(temperature), jnp.int32(top_k), jnp.float32(top_p)))
    ranked = np.argsort(-logits)[: top_k or None]
    probabilities = np.exp((logits[ranked] - logits.max()) / temperature)
    cumulated = np.cumsum(probabilities / probabilities.sum())
    count = int(np.searchsorted(cumulated, top_p - 1e-6)) + 1
    margin = np.abs(cumulated - top_p).min()
    if margin > 1e-5:  # else rounding decides
        assert set(np.flatnonzero(kept)) == set(ranked[:count])


def test_a_prompt_is_normalised_as_a_text_is():
    known = Vocabulary("\nabc")
    expected = program.encode_prompt(known, "a\nb\nc", skip_unknown=False)
    for prompt in ("\ufeffa\r\nb\rc", "a\rb\r\nc"):
        np.testing.assert_array_equal(program.encode_prompt(known, prompt, skip_unknown=False), expected)
    with pytest.raises(InputError, match="--prompt is empty"):
        program.check_options(program.SampleConfig(prompt="\ufeff"))


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm", "lru"])
def test_in_one_kernel_the_text_is_the_same(cell):
    model = network(cell, VOCAB, 6, embedding_size=3)
    params, prompt, key = model.init(jax.random.key(0)), np.array([1], np.int32), jax.random.key(1)
    assert model.fits_one_kernel
    alone = sample(model, params, prompt, 100, key=key)
    np.testing.assert_array_equal(alone, sample(model._replace(fits_one_kernel=False), params, prompt, 100, key=key))


class Sorting(Elman):
    """XLA sorts in a library, which one kernel cannot call."""

    def gates(self, carry, px, ph):
        return jnp.sort(super().gates(carry, px, ph))


@pytest.mark.parametrize("cell", [Sorting(VOCAB, 4), Elman(VOCAB, 4, activation=jnp.sort)])
def test_a_cell_of_your_own_may_do_what_no_kernel_can(cell):
    kind = cell_kind(Sorting)
    assert kind is not None
    for model in (network(kind, VOCAB, 4), with_cell(cell, VOCAB, 4)):
        assert not model.fits_one_kernel
        assert len(sample(model, model.init(jax.random.key(0)), np.array([1], np.int32), 10, key=jax.random.key(1))) == 10
