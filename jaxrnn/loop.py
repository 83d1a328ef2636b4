"""The visible loop: two drivers of one pure update, with the same numbers, and an epoch.

A driver takes a state over the next `num_updates` updates of the streams and gives back the losses, one for each character.
The plain driver is a Python loop of one jitted call for each update: the reference. The fast driver runs the same update
inside one `while_loop`, so that a whole stretch of text costs one call. (A `fori_loop` would become a scan when its number
of rounds is known; a `while_loop` with a bound handed in at run time never does.) Both overwrite the state they are given.
"""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from jaxrnn.learner import State, Update
from jaxrnn.stream import read, updates_per_epoch
from jaxrnn.types import Losses, Stream

Driver = Callable[[State, Stream, int], tuple[State, Float[np.ndarray, "read"]]]


def driver(update: Update, updates_per_call: int, length: int = 1) -> Driver:
    """The plain driver for one update per call, the fast one for more."""
    return plain_driver(update, length) if updates_per_call == 1 else fast_driver(update, updates_per_call, length)


def plain_driver(update: Update, length: int = 1) -> Driver:
    """One jitted call for each update of `length` characters."""

    @partial(jax.jit, donate_argnums=0)
    def call(state: State, stream: Stream) -> tuple[State, Losses]:
        return update(state, *read(stream, state.step, length))

    def drive(state: State, stream: Stream, num_updates: int) -> tuple[State, Float[np.ndarray, "read"]]:
        losses = []
        for _ in range(num_updates):
            state, loss = call(state, stream)
            losses.append(loss)  # not fetched here: the device would have to wait for Python at each character
        return state, np.concatenate(losses)

    return drive


def fast_driver(update: Update, updates_per_call: int, length: int = 1) -> Driver:
    """Up to `updates_per_call` updates inside one jitted call; their losses come back as one array."""

    @partial(jax.jit, donate_argnums=0)
    def call(state: State, stream: Stream, num_updates: Int[Array, ""]) -> tuple[State, Float[Array, "call"]]:
        def unfinished(loop: tuple) -> Array:
            done, _, _ = loop
            return done < num_updates

        def one_update(loop: tuple) -> tuple:
            done, state, losses = loop
            state, loss = update(state, *read(stream, state.step, length))
            return done + 1, state, jax.lax.dynamic_update_slice_in_dim(losses, loss, done * length, axis=0)

        start = (jnp.int32(0), state, jnp.zeros(updates_per_call * length))
        _, state, losses = jax.lax.while_loop(unfinished, one_update, start)
        return state, losses

    def drive(state: State, stream: Stream, num_updates: int) -> tuple[State, Float[np.ndarray, "read"]]:
        losses = []
        for done in range(0, num_updates, updates_per_call):
            count = min(updates_per_call, num_updates - done)
            state, stretch = call(state, stream, jnp.int32(count))
            losses.append(np.asarray(stretch)[: count * length])
        return state, np.concatenate(losses)

    return drive


def rest_of_epoch(
    drive: Driver, state: State, stream: Stream, updates_per_stretch: int, length: int = 1
) -> Iterator[tuple[State, Float[np.ndarray, "read"]]]:
    """Reads on to the end of the text, a stretch at a time: the state after each stretch, and its losses."""
    num_updates = updates_per_epoch(stream, length)
    position = int(state.step) % num_updates
    while position < num_updates:
        count = min(updates_per_stretch, num_updates - position)
        state, losses = drive(state, stream, count)
        yield state, losses
        position += count
