"""The mixture over long texts: hardly worse than its best member, whatever that does, and nothing large is copied."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_counts import comedy, compiled_reading, skewed
from test_loop import primitives
from test_mixture import jit, known_of

from jaxrnn.models import decisions
from jaxrnn.models.binary_code import make_code
from jaxrnn.models.counts import count_model
from jaxrnn.models.mixture import mixture_model


def learn_long(groups, num_contexts, code):
    """A program that reads a long text in blocks of 16, in a loop."""
    model = mixture_model(code, num_contexts, groups)

    def run(known, previous, y):
        def one(loop):
            i, state, nats = loop
            block = jax.tree.map(lambda each: jax.lax.dynamic_slice_in_dim(each, i * 16, 16), (known, previous, y))
            state, of_block = model.learn(state, *block)
            return i + 1, state, jax.lax.dynamic_update_slice_in_dim(nats, of_block, i * 16, 0)

        start = (jnp.int32(0), model.init(), jnp.zeros((len(y), len(groups)), jnp.float32))
        return jax.lax.while_loop(lambda loop: loop[0] < len(y) // 16, one, start)[2]

    return jit(run)


LONG, CHARACTERS = 5_008, 80
COUNTING = count_model(CHARACTERS, 3, 30_000)


@pytest.fixture(scope="module")
def long_texts():
    """Texts, and what counts know of each of their characters."""
    texts = {"skewed": skewed(LONG + 1, CHARACTERS), "comedy": np.minimum(comedy(LONG + 1)[0], CHARACTERS - 1)}
    read, found = compiled_reading(COUNTING.read), {}
    for name, ids in texts.items():
        _, evidence = read(COUNTING.init(), jnp.asarray(ids), jnp.int32(len(ids)))
        found[name] = ids, jax.tree.map(lambda each: np.asarray(each)[1:], evidence)
    return found


@pytest.fixture(scope="module")
def mix_long():
    return learn_long(np.ones((1, 3), bool), (COUNTING.num_contexts,), make_code(CHARACTERS))


@pytest.mark.parametrize("members", ["far better", "useless", "surely wrong", "diverges", "the best diverges", "turns wrong"])
@pytest.mark.parametrize("name", ["skewed", "comedy"])
def test_a_mixture_is_hardly_worse_than_its_best_member(long_texts, mix_long, name, members):
    ids, evidence = long_texts[name]
    previous, y, rng, time = ids[:-1], ids[1:], np.random.default_rng(1), np.arange(LONG)
    logits = rng.normal(0, 1, (LONG, 2, CHARACTERS))
    logits[time, :, y] += [6.0, 1.0] if members == "far better" else [3.0, 2.9]
    wrong = logits.copy()
    wrong[time, :, (y + 1) % CHARACTERS] += 60
    half = LONG // 2
    if members == "useless":
        logits[:, 1] = 0
    elif members == "surely wrong":
        logits[:, 1] = wrong[:, 1]
    elif members == "diverges":
        logits[half:, 1] = np.nan
    elif members == "the best diverges":
        logits[time[:half], 0, y[:half]] += 3
        logits[half:, 0] = np.nan
    elif members == "turns wrong":
        logits[time[:half], 0, y[:half]] += 3
        logits[half:, 0] = wrong[half:, 0]
    of_networks = np.asarray(jax.nn.log_softmax(logits.astype(np.float32)))
    log_ps = np.concatenate([of_networks, np.log(evidence.p)[:, None]], axis=1)
    nats = np.asarray(mix_long(known_of(log_ps, evidence.agreeing, evidence.last), previous, y), np.float64)[:, 0]
    of_each = -np.where(np.isnan(log_ps), -math.log(CHARACTERS), log_ps)[time, :, y].astype(np.float64)
    for size in (500, 5_000):
        assert nats[:size].mean() <= of_each[:size].mean(axis=0).min() + 0.01


def test_there_is_no_scan_and_no_copy_of_a_large_array_in_the_loop(mix_long):
    """A copy of f32[16384,1,33] for each block would take longer than learning from it."""
    agreed, contexts = make_code(CHARACTERS).bits.shape[1] + 1, COUNTING.num_contexts
    known = known_of(
        np.zeros((64, 3, CHARACTERS), np.float32), np.zeros((64, contexts, agreed), np.int32), np.zeros((64, 4), np.int32)
    )
    given = known, np.zeros(64, np.int32), np.zeros(64, np.int32)
    names = set(primitives(mix_long.trace(*given).jaxpr.jaxpr))
    assert "while" in names
    assert "scan" not in names
    compiled = mix_long.lower(*given).compile().as_text() or ""
    large = rf"f32\[(?:{decisions.NUM_PLACES},1,33|80,1,\d+|\d+,1,12)\]"
    assert re.findall(rf"= {large}", compiled)
    in_loop = compiled[: compiled.index("\nENTRY")]
    assert not re.findall(rf"= {large}\S* copy\(", in_loop)
