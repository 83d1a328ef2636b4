"""Wrap a flax.nnx cell as a flax.linen cell: each `nnx.Param` becomes a parameter; other variables keep their first values."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PyTree

from jaxrnn.data.array_types import Carry, RandomKey

# (in_features, hidden_features, *, rngs) -> an nnx module with `__call__(carry, inputs)` and `initialize_carry`.
CellFactory = Callable[..., Any]


class SplitModule(NamedTuple):
    """An nnx module split into graph, weights and the rest."""

    graph: Any  # nnx.GraphDef
    weights: PyTree  # nnx.State of its nnx.Params: shapes or values
    rest: PyTree  # nnx.State of everything else


class NNXCell(nn.RNNCellBase):
    """A flax.nnx cell. Each `nnx.Param` is a parameter of this module, named by its path (`dense_i.kernel`).

    Other variables, such as counters, keep their initial values: a step changes only the carry.
    """

    factory: CellFactory
    input_size: int
    hidden_size: int
    template: SplitModule

    def setup(self) -> None:
        shapes, _ = jax.tree.flatten_with_path(self.template.weights)
        if self.is_initializing():
            starts = jax.tree.leaves(_split_module(self._make(self.make_rng("params"))).weights)
        else:  # Linen only compares the shapes
            starts = [jnp.zeros(leaf.shape, leaf.dtype) for _, leaf in shapes]
        self.weights = [
            self.param(_name(path), lambda _, start=start: start) for (path, _), start in zip(shapes, starts, strict=True)
        ]

    def __call__(self, carry: Carry, inputs: Float[Array, "*streams features"]) -> tuple[Carry, Any]:
        weights = jax.tree.unflatten(jax.tree.structure(self.template.weights), self.weights)
        return _merge_module(self.template._replace(weights=weights))(carry, inputs)

    @nn.nowrap
    def initialize_carry(self, rng: RandomKey, input_shape: tuple[int, ...]) -> Carry:
        """Make the initial carry; the last axis of `input_shape` is the feature axis."""
        from flax import nnx

        return _merge_module(self.template).initialize_carry(input_shape, rngs=nnx.Rngs(rng))

    @property
    def num_feature_axes(self) -> int:
        return 1

    @nn.nowrap
    def _make(self, key: RandomKey) -> Any:
        from flax import nnx

        return self.factory(self.input_size, self.hidden_size, rngs=nnx.Rngs(key))


def nnx_cell(factory: CellFactory, input_size: int, hidden_size: int) -> NNXCell:
    """Make a Linen cell from a factory of nnx cells."""
    from flax import nnx  # slow to import, and few models need it

    def make() -> Any:
        return factory(input_size, hidden_size, rngs=nnx.Rngs(0))

    template = _split_module(nnx.eval_shape(make))
    if jax.tree.leaves(template.rest):  # used as they are, so their values are needed
        template = template._replace(rest=_split_module(make()).rest)
    return NNXCell(factory, input_size, hidden_size, template)


def _split_module(module: Any) -> SplitModule:
    from flax import nnx

    return SplitModule(*nnx.split(module, nnx.Param, ...))


def _merge_module(taken: SplitModule) -> Any:
    from flax import nnx

    return nnx.merge(*taken)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator=".").removesuffix(".value")
