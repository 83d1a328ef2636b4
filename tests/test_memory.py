"""The memory of a rule: from update to update, in a file, and its size in bytes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import VOCAB, task_of
from fixed import EACH_RULE, drawn
from test_loop import primitives

from jaxrnn import fast_driver, network, online, rules
from jaxrnn.errors import InputError
from jaxrnn.rules import _influence
from jaxrnn.runs.advance import advance
from jaxrnn.runs.start import first_snapshot
from jaxrnn.storage import checkpoint, manifest, store
from jaxrnn.storage.manifest import hash_arrays
from jaxrnn.training.drivers import update_many
from jaxrnn.training.learner import copy_arrays

HIDDEN, STREAMS, LENGTH = 4, 3, 5
LENGTHS = {"bptt": LENGTH, "tbptt_sliding": LENGTH, "snap_n": LENGTH, "snap_n_lookahead": LENGTH}
REMEMBERING = [name for name in rules.RULES if name not in ("one_step", "bptt")]
LIMITED = {
    "tbptt_sliding": lambda model, most: rules.tbptt_sliding(model, LENGTH, most),
    "rtrl": rules.rtrl,
    "rtrl_diagonal": rules.rtrl_diagonal,
    "snap1": rules.snap1,
    "snap1_lookahead": rules.snap1_lookahead,
    "snap_n": lambda model, most: rules.snap_n(model, LENGTH, most),
    "snap_n_lookahead": lambda model, most: rules.snap_n_lookahead(model, LENGTH, most),
    "rflo": rules.rflo,
    "eprop": lambda model, most: rules.eprop(model, max_bytes=most),
    "uoro": lambda model, most: rules.uoro(model, max_bytes=most),
    "rtrl_kronecker": lambda model, most: rules.rtrl_kronecker(model, max_bytes=most),
}


def model_of(name):
    """One whose units have two states."""
    return network("lru" if name == "rtrl_diagonal" else "lstm", VOCAB, HIDDEN)


@functools.cache
def rule_of(name):
    return rules.make_rule(rules.RULES[name], model_of(name), LENGTHS.get(name, 1))


@functools.cache
def learner_of(name):
    """With the driver of one compilation for all tests, and how often the update was traced."""
    model, traces = model_of(name), []
    learner = online(model, rule_of(name), optax.sgd(0.1))

    def update(state, x, y):
        traces.append(1)
        return learner.update(state, x, y)

    return learner, fast_driver(learner._replace(update=update), 4), traces


@functools.cache
def begin_of(name):
    """How it begins, one program for all tests."""
    return jax.jit(learner_of(name)[0].begin)


def begun(name):
    """New, with weights that need no compilation."""
    return begin_of(name)(drawn(model_of(name))[0], jax.random.key(0))


def stream(length):
    return jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, length), jnp.int32)


@functools.cache
def later(name):
    """The state after some updates, as NumPy arrays but for random keys, and the losses."""
    learner, drive, _ = learner_of(name)
    state, losses = drive(begun(name), stream(10 * learner.length), 4)
    return jax.tree.map(outside, state), losses


def outside(leaf):
    """As it would be after it was written to a file and read again."""
    return np.array(jax.random.key_data(leaf)) if is_key(leaf) else np.array(leaf)


def inside(leaf, like):
    return jax.random.wrap_key_data(jnp.asarray(leaf)) if is_key(like) else jnp.asarray(leaf)


def is_key(leaf):
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def restored(name):
    return jax.tree.map(inside, later(name)[0], begun(name))


def same(a, b):
    return hash_arrays(a, {}) == hash_arrays(b, {})


@pytest.mark.parametrize("name", EACH_RULE)
def test_going_on_from_a_copy_gives_the_same_bits_and_traces_nothing_anew(name):
    learner, drive, traces = learner_of(name)
    text, first = stream(10 * learner.length), later(name)[1]
    at_first = len(traces)
    whole, losses = drive(begun(name), text, 9)
    end, second = drive(restored(name), text, 5)
    np.testing.assert_array_equal(np.concatenate([first, second]), losses)
    assert same(end, whole)
    assert len(traces) == at_first > 0


@pytest.mark.parametrize("name", EACH_RULE)
def test_there_is_no_scan(name):
    learner, _, _ = learner_of(name)
    program = jax.make_jaxpr(update_many(learner, 4))(begun(name), stream(50), jnp.int32(3))
    found = set(primitives(program.jaxpr))
    assert "while" in found
    assert "scan" not in found


@pytest.mark.parametrize("name", EACH_RULE)
def test_a_restart_forgets(name):
    learner, _, _ = learner_of(name)
    state, key = restored(name), jax.random.key(7)
    again = learner.restart(state, key)
    carry_key, memory_key = jax.random.split(key)
    carry = model_of(name).initial_carry(carry_key, ())
    assert same((again.carry, again.memory), (carry, rule_of(name).init(state.params, carry, memory_key)))
    assert same(again.memory, state.memory) == (name not in REMEMBERING)
    assert again.step == 0
    assert same(again._replace(step=state.step, carry=state.carry, memory=state.memory), state)


@pytest.mark.parametrize("name", EACH_RULE)
def test_a_state_comes_back_from_a_file_bit_for_bit(name, tmp_path):
    state, here = restored(name), jax.sharding.SingleDeviceSharding(jax.devices()[0])
    store.write_checkpoint(tmp_path, state, {}, keep=1)
    with store.open_checkpoint(tmp_path, 1) as saved:
        again = store.read_arrays(saved, begun(name), here)
    assert jax.tree.structure(again) == jax.tree.structure(state)
    assert same(again, state)


def documented(name):
    """Bytes of the numbers that weights or carries give, and of what else there is, as the docstrings say."""
    B, U, S, k = STREAMS, 2 * HIDDEN, 2, LENGTH
    P = (VOCAB + HIDDEN + 1) * 4 * HIDDEN
    if name == "rtrl_diagonal":
        U, P = HIDDEN, sum(leaf.size for path, leaf in cell_of("lru") if not path.startswith("output"))
    return {
        "one_step": (0, 0),
        "bptt": (0, 0),
        "tbptt_sliding": (4 * B * (k - 1) * (U + 1), 4),
        "rtrl": (4 * B * U * P, 0),
        "rtrl_diagonal": (4 * B * S * P, 0),
        "snap1": (4 * B * S * P, 0),
        "snap1_lookahead": (4 * B * S * P, 0),
        "snap_n": (4 * B * U * P, 0),
        "snap_n_lookahead": (4 * B * U * P, 0),
        "rflo": (4 * B * S * P, 0),
        "eprop": (4 * B * S * P, 0),
        "uoro": (4 * B * (U + P), 8 + 4),  # a key and a count
        "rtrl_kronecker": (4 * B * 4 * (U * 4 * HIDDEN + P // (4 * HIDDEN)), 8 + 4),
    }[name]


def cell_of(cell):
    return drawn(network(cell, VOCAB, HIDDEN))[0]["cell"].items()


@pytest.mark.parametrize("name", rules.RULES)
def test_the_memory_takes_as_many_bytes_as_is_written(name):
    params, carry = drawn(model_of(name), (STREAMS,))
    memory = rule_of(name).init(params, carry, jax.random.key(0))
    assert sum(outside(leaf).nbytes for leaf in jax.tree.leaves(memory)) == sum(documented(name))


@pytest.mark.parametrize("name", REMEMBERING)
def test_more_memory_than_allowed_is_refused_and_not_allocated(name, monkeypatch):
    arguments, (size, _) = (*drawn(model_of(name), (STREAMS,)), jax.random.key(0)), documented(name)
    LIMITED[name](model_of(name), size).init(*arguments)
    rule = LIMITED[name](model_of(name), size - 1)
    with pytest.raises(InputError):
        jax.eval_shape(rule.init, *arguments)
    monkeypatch.setattr(jnp, "zeros", None)
    with pytest.raises(InputError, match=f"{name} needs .* of memory; the limit is .*: use fewer units") as error:
        rule.init(*arguments)
    assert "\n" not in str(error.value)


def test_without_a_limit_it_is_two_gibibytes():
    model = network("elman", VOCAB, 1_000)
    shapes = jax.eval_shape(lambda key: (model.init(key), model.initial_carry(key, ())), jax.random.key(0))
    said = re.escape("rtrl needs 3.76 GiB of memory; the limit is 2 GiB: use fewer units or streams, a smaller voc")
    with pytest.raises(InputError, match=said):
        jax.eval_shape(rules.rtrl(model).init, *shapes, jax.random.key(0))


def test_snap_n_is_refused_before_its_mask_takes_as_much(monkeypatch):
    monkeypatch.setattr(_influence, "jacobians", None)
    with pytest.raises(InputError, match=r"snap_n needs 3\.76 GiB of memory"):
        rules.snap_n(network("elman", VOCAB, 1_000), 2)


def test_a_layer_remembers_nothing_of_weights_that_reach_other_layers_alone():
    model = network("lru", VOCAB, HIDDEN, num_layers=2)
    params, carry = drawn(model)
    (lower, *_), (upper, *_) = rules.snap1(model).init(params, carry, jax.random.key(0))
    for memory, name in ((lower, "cell"), (upper, "cell_2")):
        assert set(memory) == {f"{name}/input_kernel", f"{name}/nu", f"{name}/theta"}


def test_a_run_with_a_random_rule_resumes_in_the_same_bits(tmp_path):
    task = task_of(rule="uoro", learning_rate=0.001)
    snapshot = advance(task, first_snapshot(task), 20).snapshot
    checkpoint.save_checkpoint(tmp_path, task.config, task.data, snapshot)
    read, kept = checkpoint.load_run(tmp_path).snapshot.state, copy_arrays(snapshot.state)
    assert same(read, kept)
    ends = [task.drive(state, task.stream, 20)[0] for state in (read, kept)]
    assert same(*ends)


def test_a_run_saved_before_its_rule_was_renamed_goes_on_with_its_rule(tmp_path, monkeypatch):
    task, settings = task_of(rule="snap1_lookahead"), manifest.config_to_json
    snapshot = advance(task, first_snapshot(task), 20).snapshot

    def former_settings(config):
        return settings(config) | {"learning": settings(config)["learning"] | {"rule": "snap1"}}

    monkeypatch.setattr(manifest, "config_to_json", former_settings)
    checkpoint.save_checkpoint(tmp_path, task.config, task.data, snapshot)
    run = checkpoint.load_run(tmp_path)
    assert run.config == task.config
    assert same(run.snapshot.state, snapshot.state)


def test_uoro_draws_other_signs_at_each_character_and_with_each_key():
    params, carry = drawn(model_of("uoro"))
    first, other = (rule_of("uoro").init(params, carry, jax.random.key(seed)) for seed in (1, 2))
    assert not same(first.key, other.key)
    begin, end = begun("uoro").memory, restored("uoro").memory
    assert same(begin.key, end.key)
    assert (begin.num_read, end.num_read) == (0, 4)
