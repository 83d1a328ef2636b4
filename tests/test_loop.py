import re
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import reference
from conftest import VOCAB
from fixed import often

from jaxrnn import elman, fast_driver, network, one_step, online, plain_driver
from jaxrnn.data.streams import to_streams
from jaxrnn.rules import RULES, make_rule
from jaxrnn.scoring.sampling import read_prompt, write_block
from jaxrnn.training import drivers, stacked
from jaxrnn.training.drivers import (
    UPDATES_PER_FETCH,
    compiler_options,
    fits_one_core,
    make_driver,
    update_many,
    update_once,
)
from jaxrnn.training.learner import copy_arrays, reader
from jaxrnn.training.stacked import count_cores

RATE = 0.1
BOTH = [plain_driver, lambda learner: fast_driver(learner, 16)]


def learner_of(model, streams=()):
    return online(model, one_step(model), optax.sgd(RATE), streams)


def start(learner):
    return jax.jit(learner.init)(jax.random.key(0))


@pytest.fixture(scope="module")
def long_ids():
    return np.random.default_rng(0).integers(0, 20, 12_000).astype(np.int32)


@pytest.mark.parametrize("num_streams", [1, 3])
def test_the_fast_driver_gives_the_numbers_of_the_plain_one(num_streams, long_ids):
    learner = learner_of(elman(20, 16), () if num_streams == 1 else (num_streams,))
    stream = jnp.asarray(to_streams(long_ids, num_streams))
    count = 10_000 if num_streams == 1 else 2_000
    plain, plain_losses = plain_driver(learner)(start(learner), stream, count)
    fast, fast_losses = fast_driver(learner, 4_000)(start(learner), stream, count)
    np.testing.assert_allclose(fast_losses, plain_losses, rtol=1e-5)
    assert fast.step == plain.step == count
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5), fast.params, plain.params)


@pytest.mark.parametrize("num_streams", [1, 3])
def test_any_number_of_updates_per_call_gives_the_same_bits(num_streams, model, ids):
    learner = learner_of(model, () if num_streams == 1 else (num_streams,))
    stream = jnp.asarray(to_streams(ids, num_streams))
    runs = [fast_driver(learner, updates)(start(learner), stream, 100) for updates in (1, 7, 100, 1_000)]
    for state, losses in runs[1:]:
        np.testing.assert_array_equal(losses, runs[0][1])
        jax.tree.map(np.testing.assert_array_equal, state, runs[0][0])


def test_the_plain_driver_may_be_called_for_any_number_of_updates(model, ids):
    learner, stream = learner_of(model), jnp.asarray(ids)
    count = UPDATES_PER_FETCH + 10  # more than it fetches at one time
    whole, losses = plain_driver(learner)(start(learner), stream, count)
    state, parts = start(learner), []
    for part in (1, UPDATES_PER_FETCH, 9):
        state, some = plain_driver(learner)(state, stream, part)
        parts.append(some)
    np.testing.assert_array_equal(np.concatenate(parts), losses)
    jax.tree.map(np.testing.assert_array_equal, state, whole)


def test_the_options_for_the_compiler_change_no_bit(model, ids, monkeypatch):
    assert compiler_options() == {"xla_cpu_copy_insertion_use_region_analysis": True}
    learner, stream, runs = learner_of(model), jnp.asarray(ids), []
    for options in (compiler_options(), compiler_options(one_core=True), {}):
        monkeypatch.setattr(drivers, "compiler_options", lambda *_, options=options: options)
        runs.append([build(learner)(start(learner), stream, 300) for build in BOTH])
    for other in runs[1:]:
        jax.tree.map(np.testing.assert_array_equal, runs[0], other)


@pytest.mark.parametrize("rule", often(RULES, seldom=set(RULES) - {"tbptt_sliding", "bptt", "snap1", "uoro"}))
def test_no_rule_is_compiled_wrongly_with_these_options(rule, ids, monkeypatch):
    """XLA of jax 0.12 would overwrite the ring of `tbptt_sliding` before it is read, were it not for a barrier."""
    model = network("lru" if rule == "rtrl_diagonal" else "gru", VOCAB, 6)
    learner, stream, runs = online(model, make_rule(RULES[rule], model, 3), optax.adam(0.01)), jnp.asarray(ids), []
    for options in (compiler_options(one_core=True), {}):
        monkeypatch.setattr(drivers, "compiler_options", lambda *_, options=options: options)
        with jax.numpy_dtype_promotion("standard"):  # Optax's Adam mixes types
            runs.append(fast_driver(learner, 60)(start(learner), stream, 60))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), *[(run[0].params, run[1]) for run in runs]
    )


@pytest.mark.parametrize("platform", ["gpu", "tpu"])
def test_there_are_options_for_a_cpu_only(platform, monkeypatch):
    monkeypatch.setattr(drivers, "first_device", lambda: SimpleNamespace(platform=platform))
    assert compiler_options() == compiler_options(one_core=True) == {}


@pytest.mark.skipif(count_cores() < 2, reason="XLA splits nothing for a single core")
@pytest.mark.parametrize(("hidden", "streams", "is_split"), [(256, (), False), (512, (), True), (128, (64,), True)])
def test_only_large_states_are_split_over_the_cores(hidden, streams, is_split):
    """Without the choice all three would be split. The numbers are the same."""
    learner, stream = learner_of(network("gru", VOCAB, hidden), streams), jnp.zeros((9, *streams), jnp.int32)

    def compiled(one_core):
        program, arguments = update_many(learner, 8), (start(learner), stream, jnp.int32(8))
        options = compiler_options(one_core)
        return jax.jit(program, donate_argnums=0, compiler_options=options).lower(*arguments).compile()

    def is_split_in(program):
        return "outer_dimension_partitions" in (program.as_text() or "")  # XLA's own name of the number of pieces

    split, chosen = compiled(False), compiled(fits_one_core(start(learner)))
    assert is_split_in(split)
    assert is_split_in(chosen) == is_split
    runs = [program(start(learner), stream, jnp.int32(8)) for program in (split, chosen)]
    jax.tree.map(np.testing.assert_array_equal, *runs)


def test_an_option_that_xla_does_not_know_is_left_out(monkeypatch):
    monkeypatch.setattr(drivers, "CPU_OPTIONS", {"no_such_option": True})
    assert drivers._known_cpu_options.__wrapped__() == {}


def test_readout_weights_are_not_copied_in_the_loop(ids):
    """XLA's own names: the loop's body must hold no copy of f32[9,12], the readout; without the option it does."""
    learner = learner_of(elman(9, 12))
    program, arguments = update_many(learner, 8), (start(learner), jnp.asarray(ids), jnp.int32(3))

    def copies(options):
        compiled = jax.jit(program, donate_argnums=0, compiler_options=options).lower(*arguments).compile().as_text() or ""
        return len(re.findall(r"= f32\[9,12\]\S* copy\(", compiled))

    assert copies(compiler_options()) < copies({})


@pytest.mark.parametrize("build", BOTH)
def test_a_driver_traces_the_update_once_at_its_first_call(build, model, ids):
    learner, traces = learner_of(model), []

    def update(state, x, y):
        traces.append(1)
        return learner.update(state, x, y)

    drive, stream, state = build(learner._replace(update=update)), jnp.asarray(ids), start(learner)
    state, _ = drive(state, stream, 1)
    at_first = len(traces)
    assert at_first == 1
    for count in (1, 16, 40):
        state, _ = drive(state, stream, count)
    assert len(traces) == at_first


def test_no_updates_are_no_losses(model, ids):
    learner = learner_of(model)
    for drive in (plain_driver(learner), fast_driver(learner, 8)):
        state, losses = drive(start(learner), jnp.asarray(ids), 0)
        assert (int(state.step), losses.shape) == (0, (0,))


def test_no_updates_trace_the_loop_even_from_shapes(model, ids):
    learner, traces = learner_of(model), []

    def update(state, x, y):
        traces.append(1)
        return learner.update(state, x, y)

    drive, stream, state = fast_driver(learner._replace(update=update), 8), jnp.asarray(ids), start(learner)
    shapes = jax.eval_shape(lambda: state)
    assert drive(shapes, stream, 0)[0] is shapes
    assert traces == [1]
    drive(state, stream, 20)
    assert traces == [1]


@pytest.mark.parametrize("build", [plain_driver, lambda learner: fast_driver(learner, 64)])
def test_training_in_float64_is_that_of_the_witness(build, model, ids):
    with jax.enable_x64(True):
        learner = learner_of(model)
        params = jax.tree.map(lambda array: array.astype(jnp.float64), model.init(jax.random.key(0)))
        state = learner.begin(params, jax.random.key(1))
        state = state._replace(carry=state.carry.astype(jnp.float64))
        weights, h = reference.to_float64(params), np.asarray(state.carry)
        expected_losses, expected, _ = reference.train(weights, h, ids, RATE)
        state, losses = build(learner)(state, jnp.asarray(ids), len(ids) - 1)
        np.testing.assert_allclose(losses, expected_losses, rtol=1e-10)
        for name, array in reference.to_float64(state.params).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("build", [plain_driver, lambda learner: fast_driver(learner, 8)])
def test_losses_have_the_precision_of_the_model(build, model, ids):
    learner = learner_of(model)
    state = start(learner)
    with jax.enable_x64(True):
        _, losses = build(learner)(state, jnp.asarray(ids), 20)
    assert losses.dtype == np.float32


def test_a_copy_outlives_what_a_driver_overwrites(model, ids):
    learner = learner_of(model)
    state = start(learner)
    before, copied = jax.tree.map(np.array, state), copy_arrays(state)
    fast_driver(learner, 50)(state, jnp.asarray(ids), 50)
    jax.tree.map(np.testing.assert_array_equal, copied, before)


@pytest.mark.parametrize("stop", [1, 33, 128])
def test_going_on_from_a_copy_gives_the_same_bits(stop, model, ids):
    """The state is all that there is: whatever was read before it plays no part."""
    learner, stream = learner_of(model), jnp.asarray(ids)
    whole, losses = fast_driver(learner, 50)(start(learner), stream, 200)
    state, first = fast_driver(learner, 50)(start(learner), stream, stop)
    state = jax.tree.map(jnp.asarray, jax.tree.map(np.array, state))
    state, second = fast_driver(learner, 50)(state, stream, 200 - stop)
    np.testing.assert_array_equal(np.concatenate([first, second]), losses)
    jax.tree.map(np.testing.assert_array_equal, state, whole)


def equations(jaxpr):
    """All equations, those inside of others too."""
    for equation in jaxpr.eqns:
        yield equation
        for value in equation.params.values():
            for inner in value if isinstance(value, (list, tuple)) else [value]:
                inner = getattr(inner, "jaxpr", inner)
                if hasattr(inner, "eqns"):
                    yield from equations(inner)


def primitives(jaxpr):
    """Names of all primitives, those inside of others too."""
    return (equation.primitive.name for equation in equations(jaxpr))


def test_there_is_no_scan_anywhere(model, params, ids):
    learner, reading = learner_of(model), reader(model)
    key, three, one = jax.random.key(0), jnp.int32(3), jnp.ones(())
    state, stream, carry = learner.init(key), jnp.asarray(ids), model.initial_carry(key, ())
    states, read = jax.tree.map(lambda leaf: leaf[None], state), stacked.Feed(stream)
    programs = {
        "update": (learner.update, (state, jnp.array([1]), jnp.array([2]))),
        "plain": (update_once(learner), (state, stream)),
        "fast": (update_many(learner, 8), (state, stream, three)),
        "in turn": (stacked._advance_in_turn(learner, 8), (states, read, three, three)),
        "beside": (stacked._advance_beside(learner, 8), (states, read, three, three)),
        "evaluation": (update_many(reading, 8), (reading.init(key), stream, three)),
        "prompt": (read_prompt(model), (params, carry, stream)),
        "sample": (write_block(model, True), (params, carry, jnp.zeros(7), key, three, one, three, one)),
    }
    for name, (program, arguments) in programs.items():
        names = set(primitives(jax.make_jaxpr(program)(*arguments).jaxpr))
        assert "dot_general" in names, name
        assert "scan" not in names, name
        assert ("while" in names) == (name not in ("update", "plain")), name


def test_a_scan_would_be_found():
    def scanning(x):
        return jax.lax.fori_loop(0, 3, lambda i, x: x + 1, x)

    assert "scan" in set(primitives(jax.make_jaxpr(jax.jit(scanning))(1.0).jaxpr))


def test_one_update_per_call_is_the_plain_loop(model, monkeypatch):
    learner, built = learner_of(model), []
    monkeypatch.setattr(drivers, "plain_driver", lambda learner: built.append("plain") or fast_driver(learner, 1))
    for updates_per_call in (1, 2):
        make_driver(learner, updates_per_call)
    assert built == ["plain"]


def test_it_learns_a_rhyme():
    ids = np.tile(np.arange(6, dtype=np.int32), 400)
    learner = learner_of(elman(6, 16))
    _, losses = fast_driver(learner, 2_000)(start(learner), jnp.asarray(ids), 2_000)
    assert losses[:50].mean() > 1.5
    assert losses[-50:].mean() < 0.05
