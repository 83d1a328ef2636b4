"""Differentiable recurrences over a block of text without a scan: one `while_loop` forward, one backward.

The forward loop stores the carry before each step for the backward loop. JAX sees a function with its own derivative
(`custom_vjp`), so everything around the recurrence is differentiated as usual.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from jaxrnn.data.array_types import Carry, InputBlock, Params
from jaxrnn.models.documents import restart_carry
from jaxrnn.models.model import Layer
from jaxrnn.rules._carry_parts import Parts, real_parts, wider_type, with_parts

Step = Callable[[Params, Carry, Any], tuple[Carry, Any]]  # of a whole model
Starts: TypeAlias = Bool[Array, " length *streams"] | None  # where the carry starts anew before a step; None = nowhere


def unroll_layer(
    layer: Layer,
) -> Callable[..., tuple[Carry, Float[Array, "length *streams hidden"]]]:
    """Make a function (params, carry, px, starts=None) -> (last carry, hidden states) for a layer with projected inputs px.

    The loops contain only what recurs: one product and the gates in each. The gradient of the weights is one product over the
    whole block, after the loops.
    """

    @jax.custom_vjp
    def run(params: Params, carry: Carry, px: Array, starts: Starts = None) -> tuple[Carry, Array]:
        outputs, _ = _forward(layer, params, carry, px, starts)
        return outputs

    run.defvjp(functools.partial(_forward, layer), functools.partial(_backward, layer))
    return run


def _forward(layer: Layer, params: Params, carry: Carry, px: Array, starts: Starts) -> tuple[tuple[Carry, Array], tuple]:
    length = px.shape[0]
    ph = jax.eval_shape(lambda params, carry: layer.recur(params, layer.hidden(carry)), params, carry)

    def step(loop: tuple) -> tuple:
        t, carry, carries, phs = loop
        carry = restart_carry(carry, _load(starts, t))
        ph = layer.recur(params, layer.hidden(carry))
        carry = layer.gates(carry, px[t], ph)
        return t + 1, carry, _store(carries, carry, t + 1), _store(phs, ph, t)

    start = (jnp.int32(0), carry, _store(_buffers(carry, length + 1), carry, 0), _buffers(ph, length))
    _, carry, carries, phs = jax.lax.while_loop(lambda loop: loop[0] < length, step, start)
    return (carry, layer.hidden(carries)[1:]), (params, carries, px, phs, starts)


def _backward(layer: Layer, stored: tuple, cotangents: tuple[Carry, Array]) -> tuple[Params, Carry, Any, None]:
    (params, carries, px, phs, starts), (dcarry, dhs) = stored, cotangents

    def step(loop: tuple) -> tuple:
        t, dcarry, dpxs, phs = loop
        starts_here = _load(starts, t)
        before = restart_carry(_load(carries, t), starts_here)
        h, hidden_vjp = jax.vjp(layer.hidden, before)  # linear: the same for the state after the step
        _, recur_vjp = jax.vjp(lambda h: layer.recur(params, h), h)
        _, gates_vjp = jax.vjp(layer.gates, before, px[t], phs[t])
        dcarry, dpx, dph = gates_vjp(_add(dcarry, *hidden_vjp(dhs[t])))
        dcarry = restart_carry(_add(dcarry, *hidden_vjp(*recur_vjp(dph))), starts_here)
        return t - 1, dcarry, () if layer.gates_of_sum else _store(dpxs, dpx, t), _store(phs, dph, t)

    # dph replaces ph. Where dpx is the same, that array will do: writing it twice would cost a wide layer a tenth of its time.
    start = (jnp.int32(px.shape[0] - 1), dcarry, () if layer.gates_of_sum else jnp.zeros_like(px), phs)
    _, dcarry, dpxs, dphs = jax.lax.while_loop(lambda loop: loop[0] >= 0, step, start)
    seen = restart_carry(layer.hidden(carries)[:-1], starts)
    _, weights_vjp = jax.vjp(lambda params: layer.recur(params, seen), params)
    return *weights_vjp(dphs), dcarry, dphs.astype(px.dtype) if layer.gates_of_sum else dpxs, None


def unroll_steps(step: Step) -> Callable[[Params, Carry, InputBlock], tuple[Carry, Any]]:
    """Make a function (params, carry, inputs) -> (last carry, outputs) from any step; inputs get no gradient.

    The backward loop recomputes each step with its derivative and sums the gradient of the weights.
    """

    @jax.custom_vjp
    def run(params: Params, parts: Parts, carry: Carry, inputs: InputBlock) -> tuple[Carry, tuple[Parts, Any]]:
        results, _ = _forward_steps(step, params, parts, carry, inputs)
        return results

    def run_and_join(params: Params, carry: Carry, inputs: InputBlock) -> tuple[Carry, Any]:
        after, (parts, outputs) = run(params, real_parts(carry), jax.lax.stop_gradient(carry), inputs)
        return with_parts(after, parts), outputs

    run.defvjp(functools.partial(_forward_steps, step), functools.partial(_backward_steps, step))
    return run_and_join


def _forward_steps(
    step: Step, params: Params, parts: Parts, carry: Carry, inputs: InputBlock
) -> tuple[tuple[Carry, tuple[Parts, Any]], tuple]:
    del parts  # those of the carry, for the derivative
    length = inputs.shape[0]
    _, output = jax.eval_shape(step, params, carry, inputs[0])

    def one(loop: tuple) -> tuple:
        t, carry, carries, outputs = loop
        after, output = step(params, carry, inputs[t])
        return t + 1, after, _store(carries, carry, t), _store(outputs, output, t)

    start = (jnp.int32(0), carry, _buffers(carry, length), _buffers(output, length))
    _, carry, carries, outputs = jax.lax.while_loop(lambda loop: loop[0] < length, one, start)
    return (carry, (real_parts(carry), outputs)), (params, carries, inputs)


def _backward_steps(step: Step, stored: tuple, cotangents: tuple) -> tuple[Params, Parts, None, None]:
    (params, carries, inputs), (_, (dparts, doutputs)) = stored, cotangents

    def one(loop: tuple) -> tuple:
        t, dparts, dparams = loop
        carry = _load(carries, t)

        def on_parts(params: Params, parts: Parts) -> tuple[Parts, Any]:
            after, output = step(params, with_parts(carry, parts), inputs[t])
            return real_parts(after), output

        _, step_vjp = jax.vjp(on_parts, params, real_parts(carry))
        dparams_here, dparts = step_vjp((dparts, _load(doutputs, t)))
        return t - 1, dparts, jax.tree.map(lambda total, leaf: total + leaf.astype(total.dtype), dparams, dparams_here)

    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, wider_type(leaf)), params)
    start = (jnp.int32(inputs.shape[0] - 1), dparts, zeros)
    _, dparts, dparams = jax.lax.while_loop(lambda loop: loop[0] >= 0, one, start)
    return jax.tree.map(lambda total, leaf: total.astype(leaf.dtype), dparams, params), dparts, None, None


def _buffers(tree: PyTree, length: int) -> Any:
    """Allocate room for `length` copies of a tree."""
    return jax.tree.map(lambda leaf: jnp.zeros((length, *leaf.shape), leaf.dtype), tree)


def _store(buffers: PyTree, values: PyTree, t: Any) -> Any:
    return jax.tree.map(lambda buffer, value: jax.lax.dynamic_update_index_in_dim(buffer, value, t, 0), buffers, values)


def _load(buffers: PyTree, t: Any) -> Any:
    return jax.tree.map(lambda buffer: buffer[t], buffers)


def _add(a: PyTree, b: PyTree) -> Any:
    return jax.tree.map(jnp.add, a, b)
