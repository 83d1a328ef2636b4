"""A driver of many states at once. Each gets the numbers that it would get alone, side by side only up to rounding.

States are stacked: each of their arrays starts with an axis for the runs. On a GPU or TPU, where a small network leaves most of
the device idle, all runs are computed side by side (`jax.vmap`). On a CPU that can take twice as long, so each core computes
its share of the runs one after another, inside one compiled program.
"""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from jaxrnn.data.array_types import Stream
from jaxrnn.data.streams import AnyStream, Pairs
from jaxrnn.errors import InputError, check_whole, is_whole, pluralize
from jaxrnn.models.scalar_loops import first_device
from jaxrnn.training.drivers import Results, compiler_options, update_many
from jaxrnn.training.learner import Learner, State, check_learner, check_state

Tree: TypeAlias = Any  # of arrays
Streams: TypeAlias = AnyStream | list[Stream] | list[Pairs]  # one for all runs, or one for each
StackedDriver = Callable[[State, Streams, int], tuple[State, Results]]
UPDATES_PER_CALL = 1_000  # Ctrl-C takes effect when all runs have done so many


class Feed(NamedTuple):
    """What the runs of a stack read."""

    stream: AnyStream  # one for all; if `which` is given, different ones, stacked
    which: Int[np.ndarray, " runs"] | None = None  # the number of each run's stream


# (states, what they read, updates, runs to advance) -> (states, results): ``[runs, ...]``
Advance = Callable[[State, Feed, Int[Array, ""], Int[Array, ""]], tuple[State, Results]]


def stacked_driver(
    learner: Learner, updates_per_call: int = UPDATES_PER_CALL, side_by_side: bool | None = None
) -> StackedDriver:
    """Make a driver of stacked states.

    Args:
      updates_per_call: most updates of each run in one compiled call; the result does not depend on it.
      side_by_side: whether to compute the runs along one more axis; None = on every device but a CPU.
    Returns:
      A function (states, stream, num_updates) -> (states, results), like `drivers.fast_driver`, for states whose arrays are
      ``[runs, ...]``. The stream is one for all runs, or a list of one per run, all of the same length. Losses are
      ``f32[runs, num_updates * learner.length]``. The given states may be overwritten.
    """
    check_learner(learner)
    check_whole(1, updates_per_call=updates_per_call)
    platform = first_device().platform
    beside = platform != "cpu" if side_by_side is None else side_by_side
    call = _jitted(learner, updates_per_call, beside, platform)

    def drive(states: State, stream: Streams, num_updates: int) -> tuple[State, Results]:
        check_state(states)
        num_runs = _count_runs(states)
        reading = _gather_streams(learner, stream, num_runs)
        if not is_whole(num_updates, 1):
            raise InputError(f"the number of updates is {num_updates!r}; it must be 1 or more, a whole number")
        shares = _share_out(num_runs, count_cores() if platform == "cpu" and not beside else 1)
        whole = (states, reading.which)
        split = [whole] if len(shares) == 1 else [_select(whole, share, len(shares[0])) for share in shares]
        parts, readings = zip(*[(part, reading._replace(which=which)) for part, which in split], strict=True)
        pieces = []
        with ThreadPoolExecutor(len(shares)) as pool:
            for done in range(0, num_updates, updates_per_call):
                count = min(updates_per_call, num_updates - done)
                calls = [
                    (part, read, np.int32(count), np.int32(len(share)))
                    for part, read, share in zip(parts, readings, shares, strict=True)
                ]
                compiled = call.lower(*calls[0]).compile()  # here: other threads lack JAX's settings, such as 64 bits
                parts, results = zip(*pool.map(compiled, *zip(*calls, strict=True)), strict=True)
                pieces.append(_fetch(_join(results, num_runs), count, updates_per_call))
        return _join(parts, num_runs), jax.tree.map(lambda *each: np.concatenate(each, axis=1), *pieces)

    return drive


def count_cores() -> int:
    """Count the CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.lru_cache(maxsize=16)
def _jitted(learner: Learner, updates_per_call: int, beside: bool, platform: str) -> Any:
    """Jit what advances the runs; kept, so that another sweep with a learner compiles nothing."""
    del platform  # another one has other compiler options
    advance = (_advance_beside if beside else _advance_in_turn)(learner, updates_per_call)
    return jax.jit(advance, donate_argnums=0, compiler_options=compiler_options(one_core=not beside))


def _advance_beside(learner: Learner, most_updates: int) -> Advance:
    """Make a pure function that advances all runs along one more axis."""
    one = update_many(learner, most_updates)

    def advance(states: State, read: Feed, num_updates: Int[Array, ""], num_runs: Int[Array, ""]) -> tuple[State, Results]:
        del num_runs  # all of them
        runs = jnp.arange(_count_runs(states))
        return jax.vmap(lambda state, run: one(state, _stream_of(read, run), num_updates))(states, runs)

    return advance


def _advance_in_turn(learner: Learner, most_updates: int) -> Advance:
    """Make a pure function that advances one run after another, in a loop."""
    one = update_many(learner, most_updates)

    def advance(states: State, read: Feed, num_updates: Int[Array, ""], num_runs: Int[Array, ""]) -> tuple[State, Results]:
        def advance_run(loop: tuple[Array, State, Results]) -> tuple[Array, State, Results]:
            run, states, results = loop
            state, new = one(_at(states, run), _stream_of(read, run), num_updates)
            return run + 1, _put(states, run, state), _put(results, run, new)

        _, results = jax.eval_shape(one, _at(states, 0), _stream_of(read, jnp.int32(0)), num_updates)
        room = jax.tree.map(lambda leaf: jnp.zeros((_count_runs(states), *leaf.shape), leaf.dtype), results)
        _, states, results = jax.lax.while_loop(lambda loop: loop[0] < num_runs, advance_run, (jnp.int32(0), states, room))
        return states, results

    return advance


def _gather_streams(learner: Learner, stream: Streams, num_runs: int) -> Feed:
    """Check streams, and stack those that differ."""
    if not isinstance(stream, list):
        learner.check(stream)
        return Feed(jax.tree.map(jnp.asarray, stream))
    if len(stream) != num_runs:
        raise InputError(f"there are {pluralize(len(stream), 'stream')} for {pluralize(num_runs, 'run')}; give one per run")
    different = {id(each): each for each in stream}
    for each in different.values():
        learner.check(each)
    shapes = {(jax.tree.structure(each), *(leaf.shape for leaf in jax.tree.leaves(each))) for each in different.values()}
    if len(shapes) > 1:
        raise InputError("the streams of the runs have different shapes; cut them to the length of the shortest")
    places = {key: place for place, key in enumerate(different)}
    which = np.array([places[id(each)] for each in stream], np.int32)
    return Feed(jax.tree.map(lambda *each: jnp.stack(each), *different.values()), which)


def _stream_of(read: Feed, run: Int[Array, ""]) -> AnyStream:
    return read.stream if read.which is None else _at(read.stream, jnp.asarray(read.which)[run])


def _count_runs(states: State) -> int:
    counts = {leaf.shape[:1] for leaf in jax.tree.leaves(states)}
    if len(counts) > 1 or counts & {(), (0,)}:
        raise InputError("the states are not stacked; each of their arrays must start with an axis for the runs")
    return counts.pop()[0]


def _share_out(num_runs: int, num_shares: int) -> list[range]:
    """Split the runs into at most so many ranges of equal length; the last may be shorter."""
    size = -(-num_runs // num_shares)
    return [range(start, min(start + size, num_runs)) for start in range(0, num_runs, size)]


def _select(tree: Tree, share: range, size: int) -> Tree:
    """Select the runs of a share; a short one is filled up with its last run, so that one program fits all."""
    runs = np.minimum(share.start + np.arange(size), share.stop - 1)
    return jax.tree.map(lambda leaf: leaf[runs], tree)


def _join(parts: Sequence[Tree], num_runs: int) -> Tree:
    """Concatenate what was computed in shares, without what filled the last one up."""
    return parts[0] if len(parts) == 1 else jax.tree.map(lambda *each: jnp.concatenate(each)[:num_runs], *parts)


def _fetch(results: Results, count: int, most_updates: int) -> Results:
    """Fetch the results of the first updates from the room for all of them."""
    return jax.tree.map(lambda leaf: np.asarray(leaf)[:, : count * (leaf.shape[1] // most_updates)], results)


def _at(tree: Tree, run: Int[Array, ""] | int) -> Tree:
    return jax.tree.map(lambda leaf: jax.lax.dynamic_index_in_dim(leaf, run, keepdims=False), tree)


def _put(tree: Tree, run: Int[Array, ""], new: Tree) -> Tree:
    def put(leaf: Array, value: Array) -> Array:
        return jax.lax.dynamic_update_index_in_dim(leaf, value, run, 0)

    return jax.tree.map(put, tree, new)
