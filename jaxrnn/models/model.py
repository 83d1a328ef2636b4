"""What the library knows of a model: a NamedTuple of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxrnn.data.array_types import Carry, Inputs, Logits, Outputs, Params, RandomKey
from jaxrnn.errors import InputError, check_function, describe_kind


class Layer(NamedTuple):
    """The functions of a cell: ``carry' = gates(carry, project(params, inputs), recur(params, hidden(carry)))``.

    `params` are the weights of this layer, which are `params[name]` in the model.
    """

    name: str
    project: Callable[[Params, Inputs], Float[Array, "*streams gates"]]
    recur: Callable[[Params, Float[Array, "*streams hidden"]], Float[Array, "*streams gates"]]
    recur_diagonal: Callable[[Params, Float[Array, "*streams hidden"]], Float[Array, "*streams gates"]]  # to itself
    gates: Callable[[Carry, Array, Array], Carry]  # elementwise
    hidden: Callable[[Carry], Float[Array, "*streams hidden"]]  # linear
    output: Callable[[Params, Float[Array, "*streams hidden"]], Float[Array, "*streams hidden"]]  # seen by other layers
    gates_of_sum: bool = False  # whether `gates` uses only the sum of its last two arguments


def _raise_no_layers(*arguments: Any) -> Any:
    raise InputError("this model has no layers, only a whole step; give it `embed`, `layers` and `read_out`")


class Model(NamedTuple):
    """The pure functions of a model. The rest of the library sees nothing else of Flax.

    The first three are enough for a model of your own. The others let some rules, and dropout, see inside; a model of a foreign
    cell (one that is not derived from `base.Cell`) has no layers, and its `embed` and `read_out` raise `InputError`.
    """

    init: Callable[[RandomKey], Params]  #: (key) -> random weights
    initial_carry: Callable[[RandomKey, tuple[int, ...]], Carry]  #: (key, streams) -> carry; () for one stream, (B,) for B
    step: Callable[[Params, Carry, Any], tuple[Carry, Outputs]]  #: (params, carry, ids) -> next carry, logits; one character
    embed: Callable[[Params, Any], Inputs] = _raise_no_layers  #: (params, ids) -> the input of the first cell
    layers: tuple[Layer, ...] = ()  #: the functions of each cell; () for foreign cells
    read_out: Callable[[Params, Float[Array, "*streams hidden"]], Logits] = _raise_no_layers  #: (params, output) -> logits
    vocab_size: int = 0  #: number of characters; 0 = the number of logits, but rules that try every id need it stated
    reads_marks: bool = False  #: whether `step` and `embed` read ids with marks, where documents begin (`models.documents`)
    inputs: int = 0  #: 0 = it reads ids; otherwise vectors of this many numbers, ``f32[*streams, inputs]``
    step_of_layers: Callable[..., Any] | None = None  #: the `step` that `layers` make up; None = unknown, or no layers
    fits_one_kernel: bool = False  #: whether a CPU may run `step` as one piece of code: no sorting, no libraries


def with_step(model: Model, step: Callable[[Params, Carry, Any], tuple[Carry, Outputs]]) -> Model:
    """Return the model with another step, and without the layers that make up the old one."""
    plain = Model(model.init, model.initial_carry, step)
    return plain._replace(vocab_size=model.vocab_size, reads_marks=model.reads_marks, inputs=model.inputs)


def check_model(model: Any) -> None:
    """Raise `InputError` unless this is a `Model` of functions whose layers, if it has any, are those of its step."""
    if not isinstance(model, Model):
        hint = "; make one with with_cell or with_nnx_cell" if callable(model) else ""
        raise InputError(f"the model is {describe_kind(model)}; it must be a jaxrnn.Model{hint}")
    check_function("the model's init", model.init, "key", returns="weights")
    check_function("the model's initial_carry", model.initial_carry, "key", "streams", returns="carry")
    check_function("the model's step", model.step, "params", "carry", "x", returns="(carry, outputs)")
    if model.layers and model.step_of_layers not in (None, model.step):
        raise InputError(
            "this model's step was replaced, but its layers are the old ones: use models.model.with_step, not _replace"
        )


def check_weights(params: PyTree) -> None:
    """Raise `InputError` unless all weights are real numbers, along whose gradients an optimizer can descend."""
    for path, leaf in jax.tree.flatten_with_path(params)[0]:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            name, is_complex = jax.tree_util.keystr(path, simple=True, separator="/"), leaf.dtype.kind == "c"
            remedy = "keep real and imaginary parts as two arrays" if is_complex else "counts belong in the carry"
            raise InputError(f"the weights {name!r} have dtype {leaf.dtype}; weights must be floats ({remedy})")


def num_characters(model: Model) -> int:
    """Return the vocabulary size of a model: as it states, or else its number of logits."""
    if model.vocab_size:
        return model.vocab_size
    params, carry = jax.eval_shape(lambda key: (model.init(key), model.initial_carry(key, ())), jax.random.key(0))
    _, logits = step_shapes(model, params, carry, input_shape(model), types=False)
    if not hasattr(logits, "shape") or not logits.shape:
        raise InputError("this model returns no row of logits, so it must state its number of characters: vocab_size")
    return logits.shape[-1]


def step_shapes(model: Model, params: PyTree, carry: PyTree, x: Any, types: bool = True) -> tuple[Any, Any]:
    """Compute the shapes of the carry and the outputs after a step.

    Args:
      types: whether the types of the carry must stay the same, too.
    Raises:
      InputError: the step does not return both, or does not keep the carry's structure and shapes.
    """
    found = jax.eval_shape(model.step, params, carry, x)
    if not isinstance(found, tuple) or len(found) != 2:
        raise InputError(f"the model's step returns {describe_kind(found)}; it must return (carry, outputs)")
    before, after = (jax.tree.flatten(each) for each in (carry, found[0]))
    if before[1] != after[1]:
        raise InputError(f"the model's step turns the carry {before[1]} into {after[1]}; it must return (carry, outputs)")
    for old, new in zip(before[0], after[0], strict=True):
        if old.shape != new.shape or (types and old.dtype != new.dtype):
            change = f"{old.dtype}{list(old.shape)} in the carry into {new.dtype}{list(new.shape)}"
            hint = f": cast it to {old.dtype}" if new.dtype == x.dtype != old.dtype else ""
            raise InputError(
                f"the model's step turns {change}; both must be the same (the input is {x.dtype}{list(x.shape)}{hint})"
            )
    return found


def input_shape(model: Model) -> jax.ShapeDtypeStruct:
    """Return shape and type of what a model reads at one step of one stream."""
    vector = jax.ShapeDtypeStruct((model.inputs,), jnp.result_type(float))
    return vector if model.inputs else jax.ShapeDtypeStruct((), jnp.int32)


def streams_of(model: Model, x: Array) -> tuple[int, ...]:
    """Return the streams axis, () or (B,), of the inputs of one step."""
    return x.shape[: x.ndim - len(input_shape(model).shape)]


def layer_names(num_layers: int) -> list[str]:
    """Return the names of the layers in the model's weights."""
    return ["cell", *[f"cell_{number}" for number in range(2, num_layers + 1)]]


def split_carry(carry: Carry, num_layers: int) -> tuple[Carry, ...]:
    """Split a model's carry into the carries of its layers; a model of one layer has that layer's carry."""
    return (carry,) if num_layers == 1 else carry


def join_carries(carries: list[Carry]) -> Carry:
    """Join the carries of the layers into the model's carry."""
    return carries[0] if len(carries) == 1 else tuple(carries)
