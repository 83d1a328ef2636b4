"""Networks of recurrent cells: an input layer, cells and a readout, as Flax modules that become a `Model`."""

import functools
from collections.abc import Callable
from numbers import Real
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float

from jaxrnn.data.array_types import Carry, Ids, Inputs, Logits, Params, RandomKey
from jaxrnn.errors import InputError, check_known
from jaxrnn.models._arguments import (
    check_cell,
    check_embedding,
    check_nnx_factory,
    check_own_model,
    check_sizes,
    find_kind,
)
from jaxrnn.models.base import ACTIVATIONS, INITIALISATIONS, Cell, Initialisation
from jaxrnn.models.cells import CELLS, CellKind
from jaxrnn.models.model import Layer, Model, join_carries, layer_names, split_carry
from jaxrnn.models.nnx_cell import CellFactory, nnx_cell
from jaxrnn.models.products import product


def elman(vocab_size: int, hidden_size: int = 128, activation: str = "sigmoid", initialisation: str = "pytorch") -> Model:
    """Make the course's network: an Elman cell and a linear readout over one-hot characters.

    Arguments and errors are those of `network`. The carry is ``f32[*streams, hidden_size]``.

    Source: Elman (1990), Cognitive Science 14(2); Mikolov et al. (2010), Interspeech, eq. 1-3.
    """
    return network("elman", vocab_size, hidden_size, activation=activation, initialisation=initialisation)


def network(
    cell: str | CellKind,
    vocab_size: int,
    hidden_size: int = 128,
    *,
    num_layers: int = 1,
    embedding_size: int = 0,
    activation: str = "sigmoid",
    leak: float = 0.5,
    initialisation: str = "pytorch",
    tied_readout: bool = False,
    inputs: int = 0,
) -> Model:
    """Make a network of stacked cells with a linear readout; its logits are ``f32[*streams, vocab_size]``.

    Args:
      cell: elman, leaky, indrnn, gru, lstm or lru; or the entry of another cell (`cells.cell_kind`).
      vocab_size: number of characters.
      hidden_size: number of hidden units per layer.
      embedding_size: size of the learned character vectors; 0 = one-hot characters.
      activation: sigmoid, tanh or relu, for elman, leaky and indrnn.
      leak: fraction of its state that a leaky unit replaces at each character.
      initialisation: pytorch, mikolov or orthogonal (`base.INITIALISATIONS`).
      tied_readout: the readout shares the embedding's weights, which must be as wide as the hidden layer.
      inputs: size of the vectors that it reads, and `vocab_size` is then the number of outputs; 0 = it reads ids.
    Raises:
      InputError: a number is out of range, a name is unknown, or the cell does not fit its settings.
    """
    check_sizes(vocab_size=vocab_size, hidden_size=hidden_size, num_layers=num_layers)
    check_sizes(0, embedding_size=embedding_size, inputs=inputs)
    check_known("activation", activation, ACTIVATIONS)
    check_known("initialisation", initialisation, INITIALISATIONS)
    if not isinstance(leak, Real) or not 0 < leak <= 1:
        raise InputError(f"no network can be made with leak={leak!r}; it must be over 0 and at most 1")
    check_embedding(embedding_size, hidden_size, inputs, tied_readout)
    kind = find_kind(cell)
    for name, value, default in (("activation", activation, "sigmoid"), ("leak", leak, 0.5)):
        if name not in kind.choices and value != default:
            raise InputError(f"{name} is {value!r}, but {kind.title} has none to choose: leave it out")
    if kind.model is not None:
        own = {"num_layers": num_layers - 1, "embedding_size": embedding_size, "inputs": inputs, "tied_readout": tied_readout}
        return check_own_model(kind, kind.model(vocab_size, hidden_size), vocab_size, [name for name in own if own[name]])
    sizes = (vocab_size, hidden_size, num_layers, embedding_size, inputs)
    return _build(kind, *sizes, activation, float(leak), initialisation, tied_readout)


@functools.lru_cache
def _build(
    kind: CellKind,
    vocab_size: int,
    hidden_size: int,
    num_layers: int,
    embedding_size: int,
    inputs: int,
    activation: str,
    leak: float,
    initialisation: str,
    tied_readout: bool,
) -> Model:
    """Make a network, the same one whenever the arguments are the same, so that a rule made for one is for any of them."""
    start = INITIALISATIONS[initialisation]
    choices = {"activation": ACTIVATIONS[activation], "leak": leak}
    input_sizes = [inputs or embedding_size or vocab_size, *[hidden_size] * (num_layers - 1)]
    cells = tuple(_make_cell(kind, size, hidden_size, start, choices) for size in input_sizes)
    embedding = Embedding(vocab_size, embedding_size) if embedding_size else None
    model = _assemble(cells, input_sizes, Readout(vocab_size, hidden_size, start, tied_readout), embedding, inputs)
    return model._replace(fits_one_kernel=kind in CELLS.values())


def _make_cell(
    kind: CellKind, input_size: int, hidden_size: int, start: Initialisation, choices: dict[str, Any]
) -> nn.RNNCellBase:
    if kind.has_complex_units and hidden_size % 2:
        raise InputError(
            f"hidden_size is {hidden_size}; an {kind.title} needs an even hidden_size (two reals per complex unit)"
        )
    try:
        return kind.make(input_size, hidden_size, start, **{name: choices[name] for name in kind.choices})
    except TypeError as error:
        raise InputError(f"{kind.title} cannot make a cell: {error}") from None


def with_cell(
    cell: nn.RNNCellBase, vocab_size: int, hidden_size: int, initialisation: str = "orthogonal", *, inputs: int = 0
) -> Model:
    """Make a model from any flax.linen cell over one-hot characters or vectors, with a linear readout.

    Args:
      cell: for example `flax.linen.GRUCell(features=128)`; its carry may be any PyTree of arrays.
      vocab_size: number of characters, or of outputs if `inputs` is set.
      hidden_size: width of the cell's output.
      initialisation: of the readout, as in `network`.
      inputs: 0 = the model reads characters; otherwise vectors of this many numbers.
    Raises:
      InputError: this is no flax.linen cell, its output is not `hidden_size` wide, or another argument is out of range.
    """
    check_cell(cell, vocab_size, hidden_size, initialisation, inputs)
    readout = Readout(vocab_size, hidden_size, INITIALISATIONS[initialisation])
    return _assemble((cell,), [inputs or vocab_size], readout, None, inputs)


def with_nnx_cell(
    cell: CellFactory, vocab_size: int, hidden_size: int, initialisation: str = "orthogonal", *, inputs: int = 0
) -> Model:
    """Make a model from any flax.nnx cell over one-hot characters or vectors, with a linear readout.

    Args:
      cell: called as `cell(in_features, hidden_size, rngs=...)`: a class such as `nnx.GRUCell`, or a function.
      vocab_size: number of characters, or of outputs if `inputs` is set.
      hidden_size: number of hidden units.
      initialisation: of the readout, as in `network`.
      inputs: 0 = the model reads characters; otherwise vectors of this many numbers.
    Raises:
      InputError: `cell` makes no recurrent cell of flax.nnx, or one that does not fit the sizes.
    """
    check_sizes(vocab_size=vocab_size, hidden_size=hidden_size)
    check_sizes(0, inputs=inputs)
    check_nnx_factory(cell, inputs or vocab_size, hidden_size)
    linen = nnx_cell(cell, inputs or vocab_size, hidden_size)
    return with_cell(linen, vocab_size, hidden_size, initialisation, inputs=inputs)


class Embedding(nn.Module):
    """Learned vectors of characters: the rows of `kernel`."""

    vocab_size: int
    embedding_size: int

    def setup(self) -> None:
        start = nn.initializers.normal(self.embedding_size**-0.5)
        self.kernel = self.param("kernel", start, (self.vocab_size, self.embedding_size), jnp.float32)

    def __call__(self, ids: Ids) -> Float[Array, "*streams features"]:
        return self.kernel[ids]


class Readout(nn.Module):
    """Linear readout: ``logits = W_o h + c``.

    W_o is stored as (vocab, hidden), one row per character: measured 1.3 to 1.6 times as fast as its transpose.
    """

    vocab_size: int
    hidden_size: int
    initialisation: Initialisation
    tied: bool = False

    @nn.compact
    def __call__(self, h: Float[Array, "*streams hidden"], embedding: Float[Array, "vocab hidden"] | None = None) -> Logits:
        if embedding is None:
            weights = self.initialisation.weights(self.hidden_size)
            kernel = self.param("kernel", weights, (self.vocab_size, self.hidden_size), jnp.float32)
        else:
            kernel = embedding
        # A product over both last axes: h @ kernel.T would first copy the kernel, which doubles the time of a step.
        logits = product(h, kernel, axis=1)
        if not self.initialisation.bias:
            return logits
        bias = self.param("bias", self.initialisation.bias(self.hidden_size), (self.vocab_size,), jnp.float32)
        return logits + jnp.broadcast_to(bias, logits.shape)


class LanguageModel(nn.Module):
    """An optional embedding, cells, and a readout of the last cell's output."""

    stack: Callable[[], tuple[nn.RNNCellBase, ...]]  # makes the cells, which are named here
    readout: Readout
    embedding: Embedding | None
    inputs: int = 0  # size of the vectors that are read; 0 = ids

    def setup(self) -> None:
        cells = self.stack()
        for name, cell in zip(layer_names(len(cells)), cells, strict=True):
            setattr(self, name, cell)
        self.cells = cells

    def embed(self, ids: Inputs) -> Inputs:
        """Compute the first cell's input: vectors as they are, embeddings, ids for our cells, or one-hot vectors."""
        if self.embedding is not None:
            return self.embedding(ids)
        if self.inputs or isinstance(self.cells[0], Cell):
            return ids
        weights = jax.tree.leaves(self.variables.get("params", {}))  # none while they are drawn
        return jax.nn.one_hot(ids, self.readout.vocab_size, dtype=weights[0].dtype if weights else jnp.float32)

    def read_out(self, h: Float[Array, "*streams hidden"]) -> Logits:
        """Compute the logits of the next character."""
        kernel = self.embedding.kernel if self.embedding is not None and self.readout.tied else None
        return self.readout(h, kernel)

    def __call__(self, carry: Carry, ids: Inputs) -> tuple[Carry, Logits]:
        outputs, carries = self.embed(ids), []
        for cell, before in zip(self.cells, split_carry(carry, len(self.cells)), strict=True):
            after, outputs = cell(before, outputs)
            carries.append(after)
        return join_carries(carries), self.read_out(outputs)


def _assemble(
    cells: tuple[nn.RNNCellBase, ...], input_sizes: list[int], readout: Readout, embedding: Embedding | None, inputs: int = 0
) -> Model:
    module = LanguageModel(lambda: tuple(cell.clone() for cell in cells), readout, embedding, inputs)

    def init(key: RandomKey) -> Params:
        any_carry = initial_carry(jax.random.key(0), ())  # only its shape matters
        return module.init(key, any_carry, jnp.zeros(inputs, jnp.float32) if inputs else jnp.int32(0))["params"]

    def initial_carry(key: RandomKey, streams: tuple[int, ...]) -> Carry:
        keys = [key] if len(cells) == 1 else jax.random.split(key, len(cells))
        shapes = [
            streams if isinstance(cell, Cell) else (*streams, size) for cell, size in zip(cells, input_sizes, strict=True)
        ]
        starts = zip(cells, keys, shapes, strict=True)
        return join_carries([cell.initialize_carry(key, shape) for cell, key, shape in starts])

    def applied(method: str | None) -> Callable[..., Any]:
        return lambda params, *arguments: module.apply({"params": params}, *arguments, method=method)

    come_apart = all(isinstance(cell, Cell) for cell in cells) and _is_real(initial_carry)
    layers = tuple(map(_take_apart, layer_names(len(cells)), cells)) if come_apart else ()
    step = applied(None)
    return Model(
        init=init,
        initial_carry=initial_carry,
        step=step,
        embed=applied("embed"),
        layers=layers,
        read_out=applied("read_out"),
        vocab_size=readout.vocab_size,
        inputs=inputs,
        step_of_layers=step if layers else None,
    )


def _is_real(initial_carry: Callable[[RandomKey, tuple[int, ...]], Carry]) -> bool:
    """Return whether all of a carry can be differentiated as it is; other cells are taken as a whole."""
    with jax.enable_x64(False):
        carry = jax.eval_shape(lambda key: initial_carry(key, ()), jax.random.key(0))
    return all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(carry))


def _take_apart(name: str, cell: Any) -> Layer:
    def applied(method: str) -> Callable[..., Any]:
        return lambda params, *arguments: cell.apply({"params": params}, *arguments, method=method)

    return Layer(
        name=name,
        project=applied("project"),
        recur=applied("recur"),
        recur_diagonal=applied("recur_diagonal"),
        gates=cell.gates,
        hidden=cell.hidden,
        output=applied("output"),
        gates_of_sum=cell.gates_of_sum,
    )
