"""Counting as it reads, against the same in plain dictionaries of contexts."""

import functools
import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from counts_witness import DISCOUNTS, by_decisions, witness
from test_loop import primitives

from jaxrnn.data import text, vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models.counts import count_model
from jaxrnn.scoring.counting import make_counter
from jaxrnn.training.drivers import compiler_options

V = 5
BEGINS = np.arange(V) >= 3
MODELS = {"all": count_model(V, 5, 2_000), "words": count_model(V, 5, 2_000, begins=BEGINS)}
KINDS = pytest.mark.parametrize("model", MODELS.values(), ids=MODELS.keys())


def skewed(size, vocab_size=V, seed=0):
    """A random text in which some contexts are rare and others are not."""
    return (np.random.default_rng(seed).zipf(1.6, size) % vocab_size).astype(np.int32)


def comedy(size):
    """The comedy's first characters, how many there are, and which of them are no letters."""
    play = text.read("comedie")
    known = vocabulary.of_text(play)
    begins = np.array([not character.isalpha() for character in known.characters])
    return vocabulary.encode(known, play[:size]).astype(np.int32), len(known.characters), begins


def reading(step):
    """A program that applies a model's `learn` or `read` to the first characters of some, in a loop."""

    def run(state, ids, length):
        def one(loop):
            i, state, out = loop
            state, found = step(state, ids[i])
            put = functools.partial(jax.lax.dynamic_update_index_in_dim, index=i, axis=0)
            return i + 1, state, jax.tree.map(put, out, found)

        shapes = jax.eval_shape(step, state, ids[0])[1]
        out = jax.tree.map(lambda each: jnp.zeros((len(ids), *each.shape), each.dtype), shapes)
        return jax.lax.while_loop(lambda loop: loop[0] < length, one, (jnp.int32(0), state, out))[1:]

    return run


@functools.cache
def compiled_reading(step):
    return jax.jit(reading(step), donate_argnums=0, compiler_options=compiler_options())


def read_all(step, state, ids):
    """The state after a text, and what came of each character of it. Short texts of all lengths are read by one program."""
    padded = np.zeros(max(400, len(ids)), np.int32)
    padded[: len(ids)] = ids
    state, found = compiled_reading(step)(jax.tree.map(jnp.array, state), jnp.asarray(padded), jnp.int32(len(ids)))
    return state, jax.tree.map(lambda each: np.asarray(each)[: len(ids)], found)


def of_read(p, ids):
    return np.asarray(p)[np.arange(len(ids)), ids]


def assert_equal_bits(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


def cases():
    small, large, (play, vocab_size, begins) = skewed(300), skewed(300, 60), comedy(1_500)
    for order, spaces in ((1, False), (5, False), (12, False), (2, True), (5, True)):
        yield pytest.param(small, V, order, BEGINS if spaces else None, id=f"small-{order}-{spaces}")
    yield pytest.param(large, 60, 2, None, id="large")
    yield pytest.param(large, 60, 5, np.arange(60) % 7 == 1, id="large-begins")
    yield pytest.param(play, vocab_size, 12, None, id="comedy")
    yield pytest.param(play, vocab_size, 3, begins, id="comedy-words")


@pytest.mark.parametrize(("ids", "vocab_size", "order", "begins"), list(cases()))
def test_probabilities_are_those_of_the_witness(ids, vocab_size, order, begins):
    expected, times, last = witness(ids, vocab_size, order, begins)
    with jax.enable_x64(True):
        model = count_model(vocab_size, order, 40_000, begins=begins, discounts=DISCOUNTS, dtype=jnp.float64)
        learned, p = read_all(model.learn, model.init(), ids)
        seen, evidence = read_all(model.read, model.init(), ids)
        p, all_p = np.asarray(p), np.asarray(evidence.p)
    assert p.dtype == all_p.dtype == np.float64
    np.testing.assert_allclose(p, of_read(expected, ids), atol=1e-12)
    np.testing.assert_allclose(all_p, expected, atol=1e-12)
    np.testing.assert_allclose(np.sum(all_p, axis=1), 1, atol=1e-12)
    assert np.min(all_p) > 0
    assert_equal_bits(learned, seen)
    agreeing, of_last = by_decisions(times, last, ids, vocab_size)
    np.testing.assert_array_equal(evidence.agreeing, agreeing)
    np.testing.assert_array_equal(evidence.last, of_last)


@KINDS
def test_followers_are_those_of_the_witness(model):
    ids = skewed(300)
    _, times, last = witness(ids, V, 5, None if model is MODELS["all"] else BEGINS)

    def look_first(state, y):
        return model.learn(state, y)[0], model.followers(state)

    state, (found, of_last) = read_all(look_first, model.init(), ids)
    np.testing.assert_array_equal(found, times)
    np.testing.assert_array_equal(of_last, last)
    _, evidence = read_all(model.read, model.init(), ids)
    np.testing.assert_array_equal(evidence.agreeing.sum(axis=2), times.sum(axis=2))
    learned, _ = read_all(model.learn, model.init(), ids)
    assert_equal_bits(learned, state)
    assert (last >= 0).any(axis=0).sum() > 3  # else there would be nothing to compare


def test_a_context_tells_what_came_last_there_also_if_it_was_not_counted_there():
    """0 1 0 2 0 1: after 0 first nothing is known, then that 1 came last, then 2; the last 1 is counted, 2 and 1 are known."""
    model, ids = count_model(3, 1, 50), np.array([0, 1, 0, 2, 0, 1, 0], np.int32)
    state, (_, last) = read_all(lambda state, y: (model.learn(state, y)[0], model.followers(state)), model.init(), ids)
    assert np.asarray(last)[:, 1].tolist() == [-1, -1, -1, 1, -1, 2, 0]
    assert model.followers(state)[1].tolist() == [-1, 1]
    assert model.followers(model.restart(state))[1].tolist() == [-1, -1]


def test_of_one_character_all_is_certain():
    model, ids = count_model(1, 3, 100), np.zeros(20, np.int32)
    learned, p = read_all(model.learn, model.init(), ids)
    state, evidence = read_all(model.read, model.init(), ids)
    np.testing.assert_allclose(p, 1, atol=1e-6)
    np.testing.assert_allclose(evidence.p, 1, atol=1e-6)
    assert_equal_bits(learned, state)
    _, times, last = witness(ids, 1, 3)
    np.testing.assert_array_equal(evidence.agreeing, np.stack([0 * times[..., 0], times[..., 0]], axis=2))
    np.testing.assert_array_equal(evidence.last, np.where(last < 0, -1, 1))
    np.testing.assert_allclose(model.predict(state), 1, atol=1e-6)


def test_by_hand():
    """0 0 0 1 after contexts of at most one character, half of each count of 1 taken away, 1 of one of 2.

    0: 1/2, nothing is counted. 0: after (), of 1, 1/2 + 1/2 1/2 = 3/4; it is counted after (0), then after (): 1 and 2.
    0: after (), (2 - 1) / 2 + 1/2 1/2 = 3/4, then after (0), 1/2 + 1/2 3/4 = 7/8; it is counted after (0) alone.
    1: after (), which still has 2, 1/4; after (0), which has 2, 1/2 1/4 = 1/8.
    """
    model = count_model(2, 1, 10, discounts=(0.5, 1.0, 2.0))
    ids = np.array([0, 0, 0, 1], np.int32)
    _, p = read_all(model.learn, model.init(), ids)
    np.testing.assert_allclose(p, [1 / 2, 3 / 4, 7 / 8, 1 / 8], atol=1e-6)


@KINDS
def test_all_probabilities_sum_to_one_and_are_those_that_are_predicted(model):
    ids = skewed(200)

    def predict_first(state, y):
        return model.learn(state, y)[0], model.predict(state)

    learned, predicted = read_all(predict_first, model.init(), ids)
    state, (p, *_) = read_all(model.read, model.init(), ids)
    np.testing.assert_allclose(np.sum(p, axis=1), 1, atol=1e-6)
    np.testing.assert_allclose(predicted, p, rtol=1e-6)
    np.testing.assert_allclose(read_all(model.learn, model.init(), ids)[1], of_read(p, ids), rtol=1e-5)
    assert np.min(p) > 0
    assert_equal_bits(learned, state)


@KINDS
def test_to_advance_is_to_learn_without_counting(model):
    """What was read twice from the same place is in the tree: then both are in the same contexts."""
    ids = skewed(100)
    state, _ = read_all(model.learn, model.init(), ids)
    state, _ = read_all(model.learn, model.restart(state), ids)
    learned, _ = read_all(model.learn, model.restart(state), ids)
    advanced, _ = read_all(lambda state, y: (model.advance(state, y), y), model.restart(state), ids)
    np.testing.assert_array_equal(advanced.contexts, learned.contexts)
    assert_equal_bits(advanced._replace(contexts=state.contexts), state)


def test_it_goes_on_from_a_file_with_the_same_bits():
    model, ids = MODELS["all"], skewed(400)
    whole, p = read_all(model.learn, model.init(), ids)
    state, first = read_all(model.learn, model.init(), ids[:190])
    file = io.BytesIO()
    np.savez(file, **state._asdict())
    file.seek(0)
    state = type(state)(**np.load(file))
    state, second = read_all(model.learn, state, ids[190:])
    assert_equal_bits(state, whole)
    np.testing.assert_array_equal(np.concatenate([first, second]), p)


@pytest.mark.parametrize("begins", [None, BEGINS], ids=["all", "words"])
@pytest.mark.parametrize("capacity", [V + 2, 30, 200])
def test_a_full_tree_goes_on_counting(capacity, begins):
    ids = skewed(400)
    model = count_model(V, 5, capacity, begins=begins)
    half, _ = read_all(model.read, model.init(), ids[:200])
    state, (p, agreeing, _) = read_all(model.read, half, ids[200:])
    assert int(state.num_nodes) == capacity
    np.testing.assert_allclose(np.sum(p, axis=1), 1, atol=1e-6)
    assert np.min(p) > 0
    assert int(state.nodes[0, 3]) >= int(half.nodes[0, 3])
    assert np.max(state.contexts) < capacity
    assert np.min(agreeing) >= 0


def test_a_capacity_that_suffices_changes_nothing():
    ids = skewed(200)
    large, p = read_all(MODELS["all"].learn, MODELS["all"].init(), ids)
    model = count_model(V, 5, int(large.num_nodes))
    state, same = read_all(model.learn, model.init(), ids)
    np.testing.assert_array_equal(same, p)
    np.testing.assert_array_equal(large.nodes[: len(state.nodes)], state.nodes)
    assert not large.nodes[len(state.nodes) :].any()


@KINDS
def test_a_new_text_has_new_contexts_and_old_counts(model):
    state, _ = read_all(model.learn, model.init(), skewed(100))
    begun = model.restart(state)
    np.testing.assert_array_equal(begun.contexts, model.init().contexts)
    assert_equal_bits(begun._replace(contexts=state.contexts), state)


def test_no_probability_depends_on_a_later_character():
    model, ids = MODELS["all"], skewed(100)
    changed = ids.copy()
    changed[60:] = (ids[60:] + 1) % V
    p, other = (np.asarray(read_all(model.read, model.init(), each)[1].p) for each in (ids, changed))
    np.testing.assert_array_equal(p[:61], other[:61])
    assert (p[61] != other[61]).any()


@pytest.mark.parametrize("name", ["learn", "read"])
def test_the_tree_is_not_copied_in_the_loop(name):
    """A copy of s32[777,8] for each character would take a thousand times as long as counting it."""
    model = count_model(V, 5, 777)
    run = compiled_reading(getattr(model, name))
    compiled = run.lower(model.init(), jnp.asarray(skewed(50)), jnp.int32(50)).compile().as_text() or ""
    assert "s32[777,8]" in compiled
    assert not re.findall(r"= s32\[777,8\]\S* copy\(", compiled)


def test_there_is_no_scan():
    model = count_model(V, 3, 100)
    state, y = model.init(), jnp.int32(1)
    programs = [(model.learn, (y,)), (model.read, (y,)), (model.predict, ()), (model.followers, ()), (model.advance, (y,))]
    for program, arguments in programs:
        names = set(primitives(jax.make_jaxpr(program)(state, *arguments).jaxpr))
        assert "while" in names
        assert "scan" not in names


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({"order": 0}, "order is 0"),
        ({"capacity": V + 1}, "capacity 6"),
        ({"discounts": (0.0, 1.0, 1.0)}, "discounts"),
        ({"discounts": (1.0, 1.0, 1.0)}, "discounts"),
        ({"discounts": (0.5, 2.0, 1.0)}, "discounts"),
        ({"discounts": (0.5, 1.0, 3.0)}, "discounts"),
        ({"discounts": (0.5, 1.0, float("nan"))}, "discounts"),
    ],
)
def test_what_is_not_allowed_is_a_one_line_error(named, said):
    with pytest.raises(InputError, match=said) as caught:
        count_model(V, **named)
    assert "\n" not in str(caught.value)


def test_a_text_of_no_characters_leaves_the_counts_as_they_are():
    models = (count_model(V, 3, 100),)
    counter, states = make_counter(models), tuple(model.init() for model in models)
    counted = counter(states, np.array([1, 2, 0], np.int32))
    before = jax.tree.map(np.array, counted)
    jax.tree.map(np.testing.assert_array_equal, before, counter(counted, np.zeros(0, np.uint8)))
