"""Rules that follow units refuse a cell of the library's base class whose weights drive several units, and follow others."""

import jax.numpy as jnp
import pytest
from fixed import apart, case, summed
from flax import linen as nn

from jaxrnn.errors import InputError
from jaxrnn.models.base import Cell
from jaxrnn.models.cells import CellKind
from jaxrnn.models.dense import LeakyElman
from jaxrnn.models.network import network
from jaxrnn.rules import RULES, make_rule

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
