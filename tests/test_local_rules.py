"""Rules that keep part of the influence equal the whole influence masked by the second witness."""

import functools

import dense
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from fixed import apart, case, often, summed
from flax import linen as nn

from jaxrnn.models.cells import CELLS
from jaxrnn.models.model import network, with_cell
from jaxrnn.rules import one_step, rflo, rtrl_diagonal, snap1, snap_n

VOCAB, HIDDEN = 5, 4


class Ring(nn.RNNCellBase):
    """Unit n sees unit n - 1 alone, so that a weight reaches one unit more at each step."""

    @nn.compact
    def __call__(self, carry, inputs):
        weights = self.param("weights", nn.initializers.normal(), (HIDDEN,), jnp.float32)
        h = nn.tanh(nn.Dense(HIDDEN, name="input")(inputs) + jnp.roll(carry, 1) * weights)
        return h, h

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape[:-1], HIDDEN))

    @property
    def num_feature_axes(self):
        return 1


MODELS = {name: network(name, VOCAB, HIDDEN) for name in CELLS}
LAYERS = {"layers": network("lstm", VOCAB, HIDDEN, num_layers=2, embedding_size=2)}
FOREIGN = {f"{name} in one piece": MODELS[name]._replace(layers=()) for name in MODELS}
FLAX = {"Flax's GRU": nn.GRUCell, "Flax's LSTM": nn.OptimizedLSTMCell}
FLAX = {name: with_cell(cell(HIDDEN), VOCAB, HIDDEN) for name, cell in FLAX.items()}
KNOWN = MODELS | LAYERS | FOREIGN | FLAX | {"ring": with_cell(Ring(), VOCAB, HIDDEN)}
DIAGONAL = ("indrnn", "lru")


@pytest.fixture(autouse=True)
def double():
    with jax.enable_x64(True):
        yield


@functools.cache
def given(name):
    return case(KNOWN[name])


@functools.cache
def steps(name):
    name = name.removesuffix(" in one piece")
    return dense.steps(KNOWN[name], *given(name))


IN_ONE_PIECE = {"elman in one piece", "leaky in one piece", "indrnn in one piece", "gru in one piece", "lru in one piece"}
SELDOM = {*IN_ONE_PIECE, "Flax's LSTM"}


@pytest.mark.parametrize("name", often([*MODELS, *LAYERS, *FOREIGN, *FLAX], SELDOM))
def test_snap1_keeps_what_a_weight_does_to_its_own_unit(name):
    mask = dense.own_unit(KNOWN[name], *given(name)[:2])
    grads, exact = summed(snap1(KNOWN[name]), *given(name)), dense.rtrl(steps(name))
    assert apart(grads, dense.rtrl(steps(name), mask)) < 1e-12
    assert (apart(grads, exact) < 1e-12) == name.startswith(DIAGONAL)
    assert apart(grads, dense.rtrl(steps(name), 0)) > 1e-3


@pytest.mark.parametrize("rule", [snap1, functools.partial(snap_n, length=1)])
@pytest.mark.parametrize(("name", "distance"), [("elman", 0.035), ("gru", 0.121)])
def test_snap1_and_snap_n_of_1_take_one_exact_step_before_the_mask_which_the_paper_s_snap_1_does_not(rule, name, distance):
    """g + J~_{t-1}^T delta beside dL_t/dh_t . J~_t, both with J~_t = mask (I_t + D_t J~_{t-1})."""
    cell, readout = ([leaf.size for leaf in jax.tree.leaves(given(name)[0][part])] for part in ("cell", "readout"))
    own = [np.tile(np.eye(HIDDEN), size // HIDDEN) for size in cell]  # a weight's unit is its last axis modulo their number
    mask = np.concatenate([*own, np.zeros((HIDDEN, sum(readout)))], axis=1)  # the readout does not reach the carry
    ours, J = 0, 0 * mask
    for now, D, g, delta in steps(name):
        ours, J = ours + g + J.T @ delta, mask * (now + D @ J)
    grads = summed(rule(KNOWN[name]), *given(name))
    assert apart(grads, ours) < 1e-12
    assert apart(grads, dense.published_snap(steps(name), mask)) == pytest.approx(distance, abs=0.001)
    assert apart(dense.published_snap(steps(name), 1), dense.rtrl(steps(name))) < 1e-12  # with all of J both are exact


@pytest.mark.parametrize("name", [name for name in [*MODELS, *FOREIGN] if name.startswith(DIAGONAL)])
def test_rtrl_diagonal_is_rtrl_where_units_reach_themselves_alone(name):
    assert apart(summed(rtrl_diagonal(KNOWN[name]), *given(name)), dense.rtrl(steps(name))) < 1e-12


@pytest.mark.parametrize("length", [1, 2, HIDDEN])
def test_snap_n_keeps_what_a_weight_does_within_n_steps(length):
    own = dense.own_unit(KNOWN["ring"], *given("ring")[:2])
    mask = sum(np.roll(own, step, axis=0) for step in range(length))  # one unit further on at each step
    grads = summed(snap_n(KNOWN["ring"], length), *given("ring"))
    assert apart(grads, dense.rtrl(steps("ring"), mask)) < 1e-12
    assert (apart(grads, dense.rtrl(steps("ring"))) < 1e-12) == (length == HIDDEN)


@pytest.mark.parametrize(("name", "length"), [("elman", 1), ("lstm", 1), ("elman", 2), ("layers", 2)])
def test_snap_1_of_dense_cells_keeps_what_one_step_does_and_snap_2_is_rtrl(name, length):
    mask = np.any([now for now, *_ in steps(name)], axis=0)
    grads, exact = summed(snap_n(KNOWN[name], length), *given(name)), dense.rtrl(steps(name))
    assert apart(grads, exact if length == 2 else dense.rtrl(steps(name), mask)) < 1e-12
    assert apart(grads, dense.rtrl(steps(name), mask) if length == 2 else exact) > 1e-6


def test_snap_n_of_diagonal_cells_in_layers_is_rtrl():
    model = network("indrnn", VOCAB, HIDDEN, num_layers=2)
    of_text = case(model)
    exact = dense.rtrl(dense.steps(model, *of_text))
    for length in (1, 2):
        assert apart(summed(snap_n(model, length), *of_text), exact) < 1e-12
    assert apart(summed(snap1(model), *of_text), exact) > 1e-6  # which does not see what the lower layer did to the upper one


@pytest.mark.parametrize("name", ["elman", *DIAGONAL])
def test_rflo_of_units_that_keep_nothing_by_their_gates_is_one_step(name):
    assert apart(summed(rflo(KNOWN[name]), *given(name)), summed(one_step(KNOWN[name]), *given(name))) < 1e-15


@pytest.mark.parametrize("leak", [0.5, 0.1, 1.0])
def test_rflo_of_leaky_units_is_the_witness_by_hand(leak):
    model = network("leaky", VOCAB, HIDDEN, leak=leak)
    params, carry, x, y = case(model)
    grads = summed(rflo(model), params, carry, x, y)
    expected = reference.rflo(reference.to_float64(params), np.asarray(carry), x, y, leak)
    for name, array in reference.to_float64(grads).items():
        np.testing.assert_allclose(array, expected[name], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("name", ["leaky", "gru", "lstm"])
def test_rflo_leaves_out_what_passes_through_recurrent_weights(name):
    kept = dense.kept_steps(KNOWN[name], *given(name), steps(name))
    grads = summed(rflo(KNOWN[name]), *given(name))
    assert apart(grads, dense.rtrl(kept)) < 1e-12
    assert apart(grads, dense.rtrl(steps(name))) > 1e-3
    assert apart(grads, dense.rtrl(kept, 0)) > 1e-3
