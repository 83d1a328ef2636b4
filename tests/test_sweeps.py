"""Each run of a sweep gets the numbers that it would get alone."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from fixed import often

from jaxrnn import Pairs, bptt, elman, fast_driver, meters, network, one_step, online, rtrl, rtrl_kronecker, snap1, uoro
from jaxrnn.models.losses import masked
from jaxrnn.training import stacked
from jaxrnn.training.optimizers import make_optimizer, with_learning_rate
from jaxrnn.training.stacked import stacked_driver
from jaxrnn.training.sweeps import start_runs, sweep

VOCAB, HIDDEN, UPDATES = 5, 4, 23
RATES, SEEDS = (0.01, 0.1, 1.0), range(8)
IDS = jnp.asarray(np.random.default_rng(0).integers(0, VOCAB, 200), jnp.int32)
RULES = {
    "one_step": one_step,
    "bptt": lambda model: bptt(model, 4),
    "snap1": snap1,
    "rtrl": rtrl,
    "uoro": uoro,
    "rtrl_kronecker": rtrl_kronecker,
}


def learner_of(rule=one_step, cell="elman", streams=(), optimizer="sgd", **settings):
    model = network(cell, VOCAB, HIDDEN)
    return online(model, rule(model), make_optimizer(optimizer, 0.5), streams, **settings)


def alone(learner, stream, rate, seed):
    """The state and the results of a single run, by the fast driver."""
    state = jax.jit(learner.init)(jax.random.key(seed))
    return driver_of(learner)(state._replace(opt_state=with_learning_rate(state.opt_state, rate)), stream, UPDATES)


@functools.cache
def driver_of(learner):
    return fast_driver(learner, 10)


def all_alone(learner, stream):
    """Those of each run."""
    return [[alone(learner, stream, rate, seed) for seed in SEEDS] for rate in RATES]


def compare(found, runs, tolerance):
    """All of a sweep's numbers with those of single runs."""
    for place, of_rate in enumerate(runs):
        for seed, (state, results) in enumerate(of_rate):
            here = jax.tree.map(lambda leaf, at=(place, seed): leaf[at], (found.states, found.losses, found.aux))
            losses, aux = results if isinstance(results, tuple) else (results, ())
            for ours, single in zip(jax.tree.leaves(here), jax.tree.leaves((state, losses, aux)), strict=True):
                if jnp.issubdtype(single.dtype, jax.dtypes.prng_key):
                    ours, single = jax.random.key_data(ours), jax.random.key_data(single)
                assert ours.dtype == single.dtype
                np.testing.assert_allclose(ours, single, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("side_by_side", [False, True])
@pytest.mark.parametrize("streams", [(), (3,)])
@pytest.mark.parametrize("name", often(RULES, seldom=("bptt", "uoro", "rtrl_kronecker", "rtrl")))
def test_three_rates_and_eight_seeds_equal_single_runs(name, streams, side_by_side):
    learner = learner_of(RULES[name], "gru" if name == "snap1" else "elman", streams, "momentum")
    stream = IDS if not streams else IDS[:198].reshape(-1, *streams)
    found = sweep(learner, RATES, SEEDS, stream, UPDATES, updates_per_call=10, side_by_side=side_by_side)
    assert found.losses.shape == (3, 8, UPDATES * learner.length)
    assert (found.rates, found.seeds) == (RATES, tuple(SEEDS))
    compare(found, all_alone(learner, stream), 1e-5 if side_by_side else 0)
    assert len(np.unique(found.losses.mean(-1).round(6))) == 24  # they differ


@pytest.mark.parametrize("cores", [1, 2, 5, 40])
def test_cores_share_the_runs(monkeypatch, cores):
    learner = learner_of()
    runs = all_alone(learner, IDS)
    monkeypatch.setattr(stacked, "count_cores", lambda: cores)
    compare(sweep(learner, RATES, SEEDS, IDS, UPDATES, updates_per_call=7), runs, 0)


def test_runs_with_aux_pairs_and_a_mask():
    draw = jnp.asarray(np.random.default_rng(1).normal(size=(50, 5)), jnp.float32)
    pairs = Pairs(draw[:, :3], (draw[:, 3:], draw[:, 0] > 0))
    asked = masked(lambda outputs, y: ((outputs - y) ** 2).sum(-1))
    model = network("gru", 2, HIDDEN, inputs=3)
    rule = meters.measured(one_step(model), cosine=meters.cosine_to(rtrl(model), part=operator.itemgetter("cell")))
    learner = online(model, rule, make_optimizer("adam", 0.5), loss=asked, has_aux=True)
    found = sweep(learner, RATES, SEEDS, pairs, UPDATES)
    assert found.aux["cosine"].shape == (3, 8, UPDATES)
    compare(found, all_alone(learner, pairs), 0)


@pytest.mark.parametrize("side_by_side", [False, True])
def test_each_seed_may_have_its_stream(side_by_side):
    learner, streams = learner_of(), [jnp.roll(IDS, seed // 2) for seed in SEEDS]
    found = sweep(learner, RATES, SEEDS, streams, UPDATES, side_by_side=side_by_side)
    for seed, stream in enumerate(streams):
        of_seed = found._replace(
            losses=found.losses[:, seed], states=jax.tree.map(lambda leaf, at=seed: leaf[:, at], found.states)
        )
        for place in range(len(RATES)):
            state, losses = alone(learner, stream, RATES[place], seed)
            np.testing.assert_allclose(of_seed.losses[place], losses, atol=1e-5 if side_by_side else 0)
            assert int(of_seed.states.step[place]) == int(state.step) == UPDATES


def test_a_sweep_reads_the_stream_once_and_its_states_read_on():
    learner = learner_of()
    found = sweep(learner, RATES, SEEDS, IDS)
    assert found.losses.shape == (3, 8, len(IDS) - 1)
    drive = stacked_driver(learner, updates_per_call=30)
    states, first = drive(start_runs(learner, RATES, SEEDS), IDS, 50)
    states, rest = drive(states, IDS, len(IDS) - 51)
    np.testing.assert_array_equal(np.concatenate([first, rest], axis=1).reshape(found.losses.shape), found.losses)
    for here, there in zip(jax.tree.leaves(states), jax.tree.leaves(found.states), strict=True):
        np.testing.assert_array_equal(here.reshape(there.shape), there)


def test_a_run_that_diverges_leaves_the_others_alone():
    model = network("elman", VOCAB, HIDDEN, activation="relu")  # behind a sigmoid, losses may stay finite
    learner = online(model, one_step(model), make_optimizer("sgd", 0.5))
    found = sweep(learner, (0.1, 1e29), (0, 1), IDS, 60)
    assert not np.isfinite(found.losses[1]).all()
    np.testing.assert_array_equal(found.losses[0], sweep(learner, (0.1,), (0, 1), IDS, 60).losses[0])


def test_threads_compute_in_the_precision_of_their_caller(x64):
    """JAX's settings are those of a thread; a core's share is computed in another one."""
    model = elman(VOCAB, HIDDEN)
    widen = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.float64))
    wide = model._replace(
        init=lambda key: widen(model.init(key)), initial_carry=lambda *given: widen(model.initial_carry(*given))
    )
    learner = online(wide, one_step(wide), optax.inject_hyperparams(optax.sgd)(learning_rate=0.5))
    found = sweep(learner, RATES, SEEDS, IDS, UPDATES)
    assert found.losses.dtype == np.float64
    compare(found, all_alone(learner, IDS), 0)


def test_runs_are_stacked_rate_by_rate():
    learner = learner_of()
    states = start_runs(learner, RATES, (3, 4))
    rates = optax.tree_utils.tree_get(states.opt_state, "learning_rate")
    np.testing.assert_allclose(rates, np.repeat(RATES, 2), rtol=1e-7)
    single = jax.jit(learner.init)(jax.random.key(4)).params["readout"]["kernel"]
    np.testing.assert_array_equal(states.params["readout"]["kernel"][5], single)
