"""The visible loop: two drivers of one pure update, with the same numbers.

A driver takes a state over the next `num_updates` updates of the streams and gives back the losses, one for each character.
The plain driver is a Python loop of one jitted call for each update: the reference. The fast driver runs the same update
inside one `while_loop`, so that a whole stretch of text costs one call. (A `fori_loop` would become a scan when its number
of rounds is known; a `while_loop` with a bound handed in at run time never does.) Both overwrite the state they are given.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.learner import Learner, State
from jaxrnn.stream import read
from jaxrnn.types import Losses, Stream

Driver = Callable[[State, Stream, int], tuple[State, Float[np.ndarray, " read"]]]


def driver(learner: Learner, updates_per_call: int) -> Driver:
    """The plain driver for one update per call, the fast one for more."""
    return plain_driver(learner) if updates_per_call == 1 else fast_driver(learner, updates_per_call)


def plain_driver(learner: Learner) -> Driver:
    """One jitted call for each update.

    Returns:
      (state, stream, num_updates) -> (state, f32[num_updates * learner.length] nats per character).
    """
    call = jax.jit(advance_one(learner), donate_argnums=0)

    def drive(state: State, stream: Stream, num_updates: int) -> tuple[State, Float[np.ndarray, " read"]]:
        losses = [np.zeros(0, np.float32)]
        for _ in range(num_updates):
            state, loss = call(state, stream)
            losses.append(loss)  # not fetched here: the device would have to wait for Python at each character
        return state, np.concatenate(losses)

    return drive


def fast_driver(learner: Learner, updates_per_call: int) -> Driver:
    """Up to `updates_per_call` updates inside one jitted call; any number of them gives the same bits.

    Returns:
      (state, stream, num_updates) -> (state, f32[num_updates * learner.length] nats per character).
    """
    call = jax.jit(advance_many(learner, updates_per_call), donate_argnums=0)

    def drive(state: State, stream: Stream, num_updates: int) -> tuple[State, Float[np.ndarray, " read"]]:
        losses = [np.zeros(0, np.float32)]
        for done in range(0, num_updates, updates_per_call):
            count = min(updates_per_call, num_updates - done)
            state, stretch = call(state, stream, jnp.int32(count))
            losses.append(np.asarray(stretch)[: count * learner.length])
        return state, np.concatenate(losses)

    return drive


def advance_one(learner: Learner) -> Callable[[State, Stream], tuple[State, Losses]]:
    """Pure: the next update, on the characters that its number says."""

    def advance(state: State, stream: Stream) -> tuple[State, Losses]:
        return learner.update(state, *read(stream, state.step, learner.length))

    return advance


def advance_many(
    learner: Learner, most_updates: int
) -> Callable[[State, Stream, Int[Array, ""]], tuple[State, Float[Array, " most"]]]:
    """Pure: the next `num_updates` updates, at most `most_updates`; the losses beyond them are zeros."""
    next_update = advance_one(learner)

    def advance(state: State, stream: Stream, num_updates: Int[Array, ""]) -> tuple[State, Float[Array, " most"]]:
        def unfinished(loop: tuple) -> Array:
            done, _, _ = loop
            return done < num_updates

        def one_update(loop: tuple) -> tuple:
            done, state, losses = loop
            state, loss = next_update(state, stream)
            return done + 1, state, jax.lax.dynamic_update_slice_in_dim(losses, loss, done * learner.length, axis=0)

        _, loss = jax.eval_shape(next_update, state, stream)
        losses = jnp.zeros(most_updates * learner.length, loss.dtype)
        _, state, losses = jax.lax.while_loop(unfinished, one_update, (jnp.int32(0), state, losses))
        return state, losses

    return advance
