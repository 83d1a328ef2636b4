"""The registry of cells by name, and entries for your own cells."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

from flax import linen as nn

from jaxrnn.errors import InputError
from jaxrnn.models.base import Cell
from jaxrnn.models.dense import GRU, LSTM, Elman, LeakyElman
from jaxrnn.models.diagonal import LRU, IndRNN
from jaxrnn.models.nnx_cell import nnx_cell


class CellKind(NamedTuple):
    """A cell, and what settings and output need to know about it."""

    make: Callable[..., nn.RNNCellBase]  # (input_size, hidden_size, initialisation, **choices) -> the cell of one layer
    title: str  # name of its network in output
    sgd_rates: tuple[float, float] = (0.1, 1.0)  # for SGD with an update per character, and per block
    choices: tuple[str, ...] = ()  # settings that it takes: "activation", "leak"
    has_complex_units: bool = False  # two reals each, so `hidden_size` must be even
    model: Callable[[int, int], Any] | None = None  # (vocab_size, hidden_size) -> Model: the whole network, instead of `make`


CELLS: dict[str, CellKind] = {
    "elman": CellKind(Elman, "Elman", (0.1, 1.0), ("activation",)),
    "leaky": CellKind(LeakyElman, "leaky Elman", (0.3, 3.0), ("activation", "leak")),
    "indrnn": CellKind(IndRNN, "IndRNN", (0.1, 1.0), ("activation",)),
    "gru": CellKind(GRU, "GRU", (0.03, 1.0)),
    "lstm": CellKind(LSTM, "LSTM", (0.1, 1.0)),
    "lru": CellKind(LRU, "LRU", (0.03, 0.3), has_complex_units=True),
}
TANH_RELU_RATES = (0.01, 0.3)  # instead of `sgd_rates` if the activation is tanh or relu
CELL_FORMS = (
    "a cell class of flax.linen (made with features=), of flax.nnx (in_features, hidden_features, rngs=) or derived from "
    "jaxrnn.models.base.Cell, a function (vocab_size, hidden_size) -> Model, or a CellKind"
)


def cell_kind(thing: Any) -> CellKind | None:
    """Make the registry entry of a cell class, Flax's or ours, or of a function that makes a whole model; else None."""
    if isinstance(thing, CellKind):
        return thing
    if not isinstance(thing, type):
        makes_model = callable(thing) and not isinstance(thing, nn.Module) and _takes_two_arguments(thing)
        return CellKind(_no_cell, thing.__name__, model=thing) if makes_model and hasattr(thing, "__name__") else None
    if issubclass(thing, Cell):
        return CellKind(thing, thing.__name__, choices=tuple(name for name in ("activation", "leak") if hasattr(thing, name)))
    if issubclass(thing, nn.RNNCellBase):
        has_features = "features" in {field.name for field in dataclasses.fields(thing)}
        return CellKind(_linen_factory(thing), thing.__name__) if has_features else None
    if hasattr(thing, "initialize_carry") and "rngs" in inspect.signature(thing.__init__).parameters:
        return CellKind(lambda size, hidden, start: nnx_cell(thing, size, hidden), thing.__name__)
    return None


def derives_from_cell(kind: CellKind) -> bool:
    """Return whether the cell derives from `Cell`: only such a one can be split into parts, as dropout and bfloat16 need."""
    return isinstance(kind.make, type) and issubclass(kind.make, Cell)


def _linen_factory(cell: Any) -> Callable[..., nn.RNNCellBase]:
    return lambda input_size, hidden_size, initialisation: cell(features=hidden_size)


def _no_cell(*arguments: Any) -> nn.RNNCellBase:
    raise InputError("a function that makes a whole model cannot make the cell of a single layer")


def _takes_two_arguments(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None, None)
    except (TypeError, ValueError):
        return False
    return True
