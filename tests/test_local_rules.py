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
from foreign_cells import OneVector

from jaxrnn.errors import InputError
from jaxrnn.models.cells import CELLS
from jaxrnn.models.losses import nats
from jaxrnn.models.network import network, with_cell
from jaxrnn.rules import (
    RULES,
    make_rule,
    one_step,
    rflo,
    rtrl_diagonal,
    snap1,
    snap1_lookahead,
    snap_n,
    snap_n_lookahead,
)

VOCAB, HIDDEN = 5, 4


class Ring(OneVector):
    """Unit n sees unit n - 1 alone, so that a weight reaches one unit more at each step."""

    @nn.compact
    def __call__(self, carry, inputs):
        weights = self.param("weights", nn.initializers.normal(), (HIDDEN,), jnp.float32)
        h = nn.tanh(nn.Dense(HIDDEN, name="input")(inputs) + jnp.roll(carry, 1) * weights)
        return h, h


MODELS = {name: network(name, VOCAB, HIDDEN) for name in CELLS}
LAYERS = {"layers": network("lstm", VOCAB, HIDDEN, num_layers=2, embedding_size=2)}
FOREIGN = {f"{name} in one piece": MODELS[name]._replace(layers=()) for name in MODELS}
FLAX = {"Flax's GRU": nn.GRUCell, "Flax's LSTM": nn.OptimizedLSTMCell}
FLAX = {name: with_cell(cell(HIDDEN), VOCAB, HIDDEN) for name, cell in FLAX.items()}
KNOWN = MODELS | LAYERS | FOREIGN | FLAX | {"ring": with_cell(Ring(HIDDEN), VOCAB, HIDDEN)}
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


ONE_LAYER = often([*MODELS, *FOREIGN, *FLAX], SELDOM)


@pytest.mark.parametrize("name", ONE_LAYER)
def test_snap1_is_the_rule_of_menick_et_al(name):
    """The sum of dL_t/dh_t . J~_t, with J~_t = mask (I_t + D_t J~_{t-1}): a weight's influence on its own unit is kept."""
    mask = dense.own_unit(KNOWN[name], *given(name)[:2])
    grads, exact = summed(snap1(KNOWN[name]), *given(name)), dense.rtrl(steps(name))
    assert apart(grads, dense.published_snap(steps(name), mask)) < 1e-12
    assert (apart(grads, exact) < 1e-12) == name.startswith(DIAGONAL)
    assert apart(grads, dense.rtrl(steps(name), 0)) > 1e-3


@pytest.mark.parametrize("name", [*ONE_LAYER, *LAYERS])
def test_the_lookahead_of_snap1_goes_one_exact_step_back_before_the_mask(name):
    """The sum of g_t + J~_{t-1}^T delta_t, with the same J~."""
    mask = dense.own_unit(KNOWN[name], *given(name)[:2])
    grads, exact = summed(snap1_lookahead(KNOWN[name]), *given(name)), dense.rtrl(steps(name))
    assert apart(grads, dense.rtrl(steps(name), mask)) < 1e-12
    assert (apart(grads, exact) < 1e-12) == name.startswith(DIAGONAL)
    assert apart(grads, dense.rtrl(steps(name), 0)) > 1e-3


@pytest.mark.parametrize(("name", "distance"), [("elman", 0.035), ("gru", 0.121)])
def test_the_two_differ_where_units_reach_each_other(name, distance):
    published, lookahead = (summed(rule(KNOWN[name]), *given(name)) for rule in (snap1, snap1_lookahead))
    assert apart(lookahead, flat(published)) == pytest.approx(distance, abs=0.001)


def flat(grads):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(grads)])


@pytest.mark.parametrize("name", ["elman", "gru", "lstm", "lru"])
def test_the_witness_finds_the_error_of_the_readout(name):
    """It solves for dL_t/dh_t; here that is the gradient of the loss of the state after the character."""
    model, (params, carry, x, y) = KNOWN[name], given(name)
    after, _ = jax.jit(model.step)(params, carry, x[0])
    layer = model.layers[0]

    def loss(carry):
        return nats(model.read_out(params, layer.output(params[layer.name], layer.hidden(carry))), jnp.asarray(y[0]))

    _, D, _, delta = steps(name)[0]
    assert apart(jax.jit(jax.grad(loss))(after), np.linalg.solve(D.T, delta)) < 1e-12


@pytest.mark.parametrize("activation", ["sigmoid", "tanh"])
def test_snap1_follows_each_layer_by_itself_with_the_error_that_comes_through_those_above(activation):
    model = network("elman", VOCAB, HIDDEN, num_layers=2, activation=activation)
    params, carry, x, y = case(model)
    expected = reference.snap1_of_two_layers(jax.tree.map(np.asarray, params), carry, x, y, activation)
    grads = summed(snap1(model), params, carry, x, y)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-11, atol=1e-14), grads, expected)


@pytest.mark.parametrize(("cell", "settings"), [("lstm", {"embedding_size": 2}), ("lru", {}), ("gru", {})])
def test_snap1_of_two_layers_of_any_cell_masks_each_by_itself(cell, settings):
    model = network(cell, VOCAB, HIDDEN, num_layers=2, **settings)
    params, carry, x, y = case(model)
    of_steps, mask = dense.steps(model, params, carry, x, y), dense.own_unit(model, params, carry)
    grads = summed(snap1(model), params, carry, x, y)
    assert apart(grads, dense.layered_snap(model, carry, of_steps, mask)) < 1e-11
    lookahead = flat(summed(snap1_lookahead(model), params, carry, x, y))
    assert (apart(grads, lookahead) < 1e-12) == (cell == "lru")  # units that reach no others have nothing to be masked


TIED = {"embedding_size": HIDDEN, "tied_readout": True}


@pytest.mark.parametrize("foreign", [False, True])
@pytest.mark.parametrize("settings", [TIED, TIED | {"num_layers": 2}])
def test_weights_that_act_before_and_after_the_state_have_both_gradients(settings, foreign):
    model = network("elman", VOCAB, HIDDEN, **settings)
    of_text = case(model)
    of_steps = dense.steps(model, *of_text)
    mask = np.any([now for now, *_ in of_steps], axis=0)
    model = model._replace(layers=()) if foreign else model
    assert apart(summed(snap_n(model, 1), *of_text), dense.published_snap(of_steps, mask)) < 1e-12
    assert apart(summed(snap_n(model, 2), *of_text), dense.rtrl(of_steps)) < 1e-12


@pytest.mark.parametrize("rule", [snap1, snap1_lookahead, functools.partial(snap_n, length=1)])
@pytest.mark.parametrize("name", ["gru", "lstm", "Flax's GRU"])
def test_two_streams_give_the_mean_of_their_gradients(rule, name):
    rule, (params, carry, x, y) = rule(KNOWN[name]), case(KNOWN[name], streams=(2,))
    each = [summed(rule, params, jax.tree.map(lambda leaf, n=n: leaf[n], carry), x[:, n], y[:, n]) for n in range(2)]
    assert apart(summed(rule, params, carry, x, y), jax.tree.map(lambda a, b: (a + b) / 2, *each)) < 1e-12


@pytest.mark.parametrize("name", [name for name in [*MODELS, *FOREIGN] if name.startswith(DIAGONAL)])
def test_rtrl_diagonal_is_rtrl_where_units_reach_themselves_alone(name):
    assert apart(summed(rtrl_diagonal(KNOWN[name]), *given(name)), dense.rtrl(steps(name))) < 1e-12


# Each rule, and the witness for its masked gradient.
MASKED = pytest.mark.parametrize(("rule", "witness"), [(snap_n, dense.published_snap), (snap_n_lookahead, dense.rtrl)])


@MASKED
@pytest.mark.parametrize("length", [1, 2, HIDDEN])
def test_snap_n_keeps_what_a_weight_does_within_n_steps(rule, witness, length):
    own = dense.own_unit(KNOWN["ring"], *given("ring")[:2])
    mask = sum(np.roll(own, step, axis=0) for step in range(length))  # one unit further on at each step
    grads = summed(rule(KNOWN["ring"], length), *given("ring"))
    assert apart(grads, witness(steps("ring"), mask)) < 1e-12
    assert (apart(grads, dense.rtrl(steps("ring"))) < 1e-12) == (length == HIDDEN)


@MASKED
@pytest.mark.parametrize(("name", "length"), [("elman", 1), ("lstm", 1), ("elman", 2), ("layers", 2)])
def test_snap_1_of_dense_cells_keeps_what_one_step_does_and_snap_2_is_rtrl(rule, witness, name, length):
    mask = np.any([now for now, *_ in steps(name)], axis=0)
    grads, exact = summed(rule(KNOWN[name], length), *given(name)), dense.rtrl(steps(name))
    assert apart(grads, exact if length == 2 else witness(steps(name), mask)) < 1e-12
    assert apart(grads, witness(steps(name), mask) if length == 2 else exact) > 1e-6


@pytest.mark.parametrize(("settings", "equal"), [
    ({"cell": "elman"}, True), ({"cell": "gru"}, True), ({"cell": "lstm"}, False), ({"cell": "lru"}, False),
    ({"cell": "elman", "num_layers": 2}, False), ({"cell": "elman", "embedding_size": 3}, False),
])  # fmt: skip
def test_snap_n_of_1_is_snap1_for_one_layer_of_units_with_one_state_over_one_hot_characters(settings, equal):
    model = network(vocab_size=VOCAB, hidden_size=HIDDEN, **settings)
    grads, whole = (summed(rule, *case(model)) for rule in (snap1(model), snap_n(model, 1)))
    assert (apart(grads, flat(whole)) < 1e-12) == equal


@pytest.mark.parametrize("rule", [snap_n, snap_n_lookahead])
def test_snap_n_of_diagonal_cells_in_layers_is_rtrl(rule):
    model = network("indrnn", VOCAB, HIDDEN, num_layers=2)
    of_text = case(model)
    exact = dense.rtrl(dense.steps(model, *of_text))
    for length in (1, 2):
        assert apart(summed(rule(model, length), *of_text), exact) < 1e-12
    assert apart(summed(snap1(model), *of_text), exact) > 1e-6  # which does not see what the lower layer did to the upper one


class Reading(OneVector):
    """Its output comes from its new carry, or in other ways."""

    output: str = "the carry"

    @nn.compact
    def __call__(self, carry, inputs):
        h = nn.tanh(nn.Dense(HIDDEN, name="input")(inputs) + nn.Dense(HIDDEN, name="recurrent")(carry))
        return {
            "the carry": lambda: (h, nn.sigmoid(h)),
            "also the carry before": lambda: (h, h + carry),
            "something packed into the carry": lambda: (jnp.concatenate([h[:1], h[1:]]), nn.sigmoid(h)),
        }[self.output]()


@pytest.mark.parametrize("output", ["also the carry before", "something packed into the carry"])
@pytest.mark.parametrize("rule", ["snap1", "snap_n"])
def test_an_output_that_cannot_be_seen_to_come_from_the_new_carry_is_refused(rule, output):
    model = with_cell(Reading(HIDDEN, output), VOCAB, HIDDEN)
    said = f"{rule} needs a cell that computes its output from the arrays of its new carry; .*; try {rule}_lookahead"
    with pytest.raises(InputError, match=said):
        make_rule(RULES[rule], model, 2)
    assert make_rule(RULES[f"{rule}_lookahead"], model, 2).length == 1
    assert make_rule(RULES[rule], with_cell(Reading(HIDDEN, "the carry"), VOCAB, HIDDEN), 2).length == 1


def test_a_carry_that_holds_a_state_twice_is_followed():
    one = KNOWN["elman in one piece"]

    def step(params, carry, x):
        h, logits = one.step(params, carry[0], x)
        return (h, h), logits

    twice = one._replace(initial_carry=lambda key, streams: (one.initial_carry(key, streams),) * 2, step=step)
    params, h, x, y = given("elman")
    exact = dense.rtrl(steps("elman"))
    assert apart(summed(snap_n(twice, 2), params, (h, h), x, y), exact) < 1e-12


@pytest.mark.parametrize("name", ["gru", "lstm", "Flax's LSTM"])
def test_a_step_that_is_jitted_by_its_author_is_seen_through(name):
    model = KNOWN[name]._replace(layers=())
    inside = model._replace(step=jax.jit(model.step))
    assert apart(summed(snap1(inside), *given(name)), flat(summed(snap1(model), *given(name)))) < 1e-14


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
