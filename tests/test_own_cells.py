"""Cells of one's own that derive from the library's base class, and models of one's own with layers: exact, or refused."""

import jax
import jax.numpy as jnp
import pytest
from fixed import apart, case, summed
from flax import linen as nn

from jaxrnn import Model, nats
from jaxrnn.errors import InputError
from jaxrnn.models.base import Cell
from jaxrnn.models.cells import CellKind
from jaxrnn.models.dense import LeakyElman
from jaxrnn.models.network import network
from jaxrnn.rules import RULES, make_rule, rtrl

VOCAB, HIDDEN = 5, 4
pytestmark = pytest.mark.usefixtures("x64")


class LowRank(Cell):
    """A cell of the library's base class whose recurrence has a low rank."""

    rank: int = 2

    def set_up_recurrence(self):
        self.down = self.param("down", nn.initializers.normal(), (self.hidden_size, self.rank), jnp.float32)
        self.up = self.param("up", nn.initializers.normal(), (self.rank, self.hidden_size), jnp.float32)

    def recur(self, h):
        return h @ self.down @ self.up

    def recur_diagonal(self, h):
        return h * jnp.diagonal(self.down @ self.up)

    @nn.nowrap
    def gates(self, carry, px, ph):
        return 0.5 * carry + 0.5 * jnp.tanh(px + ph)


@pytest.mark.parametrize("num_layers", [1, 2])
@pytest.mark.parametrize("rank", [2, 4, 6, 8])
@pytest.mark.parametrize("rule", ["rflo", "eprop", "snap1", "snap1_lookahead"])
def test_a_cell_of_ones_own_whose_weights_drive_several_units_is_refused(rule, rank, num_layers):
    """Whatever their shape: of 4 units, an array of 4 or 8 columns looks as if each column belonged to one."""
    kind = CellKind(lambda size, hidden, start: LowRank(size, hidden, start, rank=rank), "low rank")
    with pytest.raises(InputError, match=f"^{rule} needs weights that each drive one unit; those of 'cell/down' drive several"):
        make_rule(RULES[rule], network(kind, VOCAB, HIDDEN, num_layers=num_layers))


class Halving(LeakyElman):
    """A cell of one's own whose weights each drive one unit."""


@pytest.mark.parametrize("rule", ["rflo", "eprop", "snap1", "snap1_lookahead"])
def test_a_cell_of_ones_own_whose_weights_drive_one_unit_is_followed(rule):
    kind = CellKind(lambda size, hidden, start: Halving(size, hidden, start), "halving")
    params, carry, x, y = case(network("leaky", VOCAB, HIDDEN))
    own, known = (make_rule(RULES[rule], network(cell, VOCAB, HIDDEN)) for cell in (kind, "leaky"))
    assert apart(summed(own, params, carry, x, y), summed(known, params, carry, x, y)) < 1e-15


class Doubled(Halving):
    """A cell that reads both halves of its state, rectified: which weights reach what differs from state to state."""

    def set_up_recurrence(self):
        start = nn.initializers.lecun_normal()
        self.recurrent_kernel = self.param("recurrent_kernel", start, (2 * self.hidden_size, self.hidden_size), jnp.float32)

    def recur(self, h):
        return jnp.concatenate([nn.relu(h), nn.relu(-h)], -1) @ self.recurrent_kernel

    def recur_diagonal(self, h):
        up, down = jnp.split(self.recurrent_kernel, 2)
        return nn.relu(h) * jnp.diagonal(up) + nn.relu(-h) * jnp.diagonal(down)


@pytest.mark.parametrize("rule", ["snap_n", "snap_n_lookahead"])
def test_what_a_cell_of_ones_own_can_reach_is_seen_at_states_of_both_signs(rule):
    model = network(CellKind(lambda size, hidden, start: Doubled(size, hidden, start), "doubled"), VOCAB, HIDDEN)
    params, carry, x, y = case(model)
    found, exact = summed(make_rule(RULES[rule], model, 9), params, carry, x, y), summed(rtrl(model), params, carry, x, y)
    assert jnp.abs(exact["cell"]["recurrent_kernel"]).min() > 0
    assert apart(found, exact) < 1e-12


def test_a_kernel_that_multiplies_something_else_than_the_state_is_no_kronecker_product():
    model = network(CellKind(lambda size, hidden, start: Doubled(size, hidden, start), "doubled"), VOCAB, HIDDEN)
    with pytest.raises(InputError, match=r"^rtrl_kronecker needs a network of elman, leaky, gru or lstm cells"):
        make_rule(RULES["rtrl_kronecker"], model)


class Counting(Halving):
    """A cell that also counts what it has read, and slows down."""

    @nn.nowrap
    def gates(self, carry, px, ph):
        h, number = carry
        return Halving.gates(self, h, px, ph) / (1 + number.astype(h.dtype)[..., None]), number + 1

    @nn.nowrap
    def hidden(self, carry):
        return carry[0]

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return Halving.initialize_carry(self, rng, input_shape), jnp.zeros(input_shape, jnp.int32)


class Turning(Halving):
    """A cell with complex states."""

    @nn.nowrap
    def gates(self, carry, px, ph):
        return carry * jnp.asarray(0.8 + 0.3j, carry.dtype) + jnp.tanh(px + ph).astype(carry.dtype)

    @nn.nowrap
    def hidden(self, carry):
        return carry.real + carry.imag

    @nn.nowrap
    def initialize_carry(self, rng, input_shape):
        return jnp.zeros((*input_shape, self.hidden_size), jnp.complex64)


@pytest.mark.parametrize("streams", [(), (3,)], ids=["one stream", "3 streams"])
@pytest.mark.parametrize("cell", [Counting, Turning])
@pytest.mark.parametrize("rule", ["bptt", "tbptt_sliding", "snap_n", "snap_n_lookahead", "rtrl"])
def test_a_carry_of_counts_or_complex_numbers_is_followed_in_a_cell_of_ones_own(rule, cell, streams):
    model = network(CellKind(lambda size, hidden, start: cell(size, hidden, start), "own"), VOCAB, HIDDEN)
    params, carry, x, y = case(model, streams=streams)

    def loss(params):
        total, state = 0.0, carry
        for x_t, y_t in zip(jnp.asarray(x), jnp.asarray(y), strict=True):
            state, logits = model.step(params, state, x_t)
            total = total + nats(logits, y_t).mean()
        return total

    found = summed(make_rule(RULES[rule], model, len(x)), params, carry, x, y)
    scale = len(x) if rule == "bptt" else 1
    assert apart(jax.tree.map(lambda leaf: scale * leaf, found), jax.jit(jax.grad(loss))(params)) < 1e-12


@pytest.mark.parametrize("cell", [Counting, Turning])
@pytest.mark.parametrize("rule", ["rflo", "eprop"])
def test_a_rule_for_layers_refuses_a_carry_that_is_not_real(rule, cell):
    kind = CellKind(lambda size, hidden, start: cell(size, hidden, start), "own")
    with pytest.raises(InputError, match=f"^{rule} needs a network of jaxrnn's own cells; try snap1$"):
        make_rule(RULES[rule], network(kind, VOCAB, HIDDEN))


def renamed(model, name):
    """A model of one's own with the same layer under another name."""

    def known(params):
        return {"cell" if key == name else key: leaf for key, leaf in params.items()}

    return Model(
        init=lambda key: {name if each == "cell" else each: leaf for each, leaf in model.init(key).items()},
        initial_carry=model.initial_carry,
        step=lambda params, carry, x: model.step(known(params), carry, x),
        embed=lambda params, x: model.embed(known(params), x),
        layers=(model.layers[0]._replace(name=name),),
        read_out=lambda params, h: model.read_out(known(params), h),
        vocab_size=model.vocab_size,
    )


@pytest.mark.parametrize("rule", RULES)
def test_the_name_of_a_layer_does_not_matter(rule):
    model, length = network("indrnn" if rule == "rtrl_diagonal" else "leaky", VOCAB, HIDDEN), 7 if rule == "bptt" else 3
    other = renamed(model, "rnn")
    params, carry, x, y = case(model)
    of_other = {"rnn" if name == "cell" else name: leaf for name, leaf in params.items()}
    expected = summed(make_rule(RULES[rule], model, length), params, carry, x, y)
    found = summed(make_rule(RULES[rule], other, length), of_other, carry, x, y)
    assert jnp.abs(expected["cell"]["bias"]).max() > 0
    assert apart({"cell" if name == "rnn" else name: leaf for name, leaf in found.items()}, expected) < 1e-14


@pytest.mark.parametrize("rule", ["snap_n", "rtrl_kronecker", "rtrl_diagonal", "snap1"])
def test_a_rule_may_be_made_while_jax_traces(rule):
    model = network("indrnn" if rule == "rtrl_diagonal" else "leaky", VOCAB, HIDDEN)
    params, carry, *ids = case(model, 1)
    x, y = map(jnp.asarray, ids)

    def gradient(params):
        made = make_rule(RULES[rule], model, 2)
        return made.gradient(params, made.init(params, carry, jax.random.key(0)), carry, x, y).grads

    expected = summed(make_rule(RULES[rule], model, 2), params, carry, x, y)
    assert apart(jax.jit(gradient)(params), expected) < 1e-14
