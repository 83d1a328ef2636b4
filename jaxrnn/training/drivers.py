"""Two drivers of one pure update that give the same numbers.

A driver advances a state by the next `num_updates` updates of the streams and returns the losses, one per character, or
`WithAux` if that is what the learner's update returns: its `aux` then has one entry per update. The plain
driver, the reference, is a Python loop with one jitted call per update. The fast driver runs the same update inside one
`while_loop`, so that many updates cost one call. (JAX turns a `fori_loop` with a static trip count into a scan, but never a
`while_loop` with a dynamic bound.) Both overwrite the state that they are given.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Int

from jaxrnn.data.streams import AnyStream, read_block
from jaxrnn.errors import InputError, check_whole, is_whole
from jaxrnn.models.scalar_loops import first_device
from jaxrnn.rules._influence import count_bytes
from jaxrnn.training.learner import Learner, State, check_learner, check_state

Results: TypeAlias = Any  # losses, or `WithAux`: arrays whose first axis is time
Update: TypeAlias = Callable[[State, AnyStream], tuple[State, Results]]
Driver = Callable[[State, AnyStream, int], tuple[State, Results]]
Tree = TypeVar("Tree")  # of arrays
# For the compiler: overwrite weights in place although the backward pass still reads them. Otherwise XLA copies the readout's
# weights at every character, which takes a third of the time.
CPU_OPTIONS: dict[str, bool | str] = {"xla_cpu_copy_insertion_use_region_analysis": True}
# For the compiler: split no elementwise operation over the cores. XLA splits each one that touches 512 KiB, or much less if it
# computes more, and waking a thread takes longer than so little work: a GRU of 256 units would take twice as long.
ONE_CORE: dict[str, bool | str] = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
# Up to these sizes one core is faster than two: weights and memory stay in its cache, and the gates of all streams are few.
ONE_CORE_STATE, ONE_CORE_CARRY = 2_500_000, 16_384  # bytes
UPDATES_PER_FETCH = 1_000  # the plain driver fetches losses this rarely: fetching at each update would stall the device


class Loop(NamedTuple):
    """Loop state: passed between calls by the plain driver, inside one call by the fast one."""

    done: Int[Array, ""]  # updates so far, i32
    state: State
    results: Results  # of these updates; 0 for those still to come


def make_driver(learner: Learner, updates_per_call: int) -> Driver:
    """Make the plain driver for one update per call, the fast one for more."""
    return plain_driver(learner) if updates_per_call == 1 else fast_driver(learner, updates_per_call)


def plain_driver(learner: Learner) -> Driver:
    """Make the reference driver: a Python loop with one jitted call per update.

    Returns:
      A function (state, stream, num_updates) -> (state, losses). `stream` is ``[time + 1, *streams]`` ids of any integer type
      or `data.streams.Pairs`; `losses` are ``f32[num_updates * learner.length]``, nats per character or whatever the loss
      returns. The given state is overwritten.
    """
    check_learner(learner)
    update = traced_once(update_once(learner))
    begin = jax.jit(start_loop(update, UPDATES_PER_FETCH), donate_argnums=0)
    call_of = functools.cache(functools.partial(_jit_on_leaves, continue_loop(update)))

    def stretch(state: State, stream: AnyStream, num_updates: int) -> tuple[State, Results]:
        one_core = fits_one_core(state)
        leaves, structure = jax.tree.flatten(begin(state, stream))
        call = call_of(structure, one_core)
        for _ in range(num_updates):
            leaves = call(leaves, stream)
        _, state, results = jax.tree.unflatten(structure, leaves)
        return state, results

    return _drive_in_pieces(stretch, UPDATES_PER_FETCH, learner)


def fast_driver(learner: Learner, updates_per_call: int) -> Driver:
    """Make a driver with up to `updates_per_call` updates per jitted call; the result does not depend on that number.

    Returns:
      A function (state, stream, num_updates) -> (state, losses). `stream` is ``[time + 1, *streams]`` ids of any integer type
      or `data.streams.Pairs`; `losses` are ``f32[num_updates * learner.length]``, nats per character or whatever the loss
      returns. The given state is overwritten. After the end of the stream, updates read it from its start: see
      `Learner.restart` for another stream. A call for 0 updates only traces the loop, so that the next call starts sooner;
      its state may have `jax.ShapeDtypeStruct` leaves.
    """
    check_learner(learner)
    check_whole(1, updates_per_call=updates_per_call)
    advance = update_many(learner, updates_per_call)

    @functools.cache
    def call_of(one_core: bool) -> Any:
        return jax.jit(advance, donate_argnums=0, compiler_options=compiler_options(one_core))

    def stretch(state: State, stream: AnyStream, num_updates: int) -> tuple[State, Results]:
        return call_of(fits_one_core(state))(state, stream, np.int32(num_updates))

    drive = _drive_in_pieces(stretch, updates_per_call, learner)

    def drive_or_trace(state: State, stream: AnyStream, num_updates: int) -> tuple[State, Results]:
        if not num_updates:
            _check_state(state)
            call_of(fits_one_core(state)).lower(state, stream, np.int32(0))
        return drive(state, stream, num_updates)

    return drive_or_trace


def update_once(learner: Learner) -> Update:
    """Make a pure function that does the next update; `state.step` determines its characters.

    All arrays of its results have a first axis: characters for losses, one update for `WithAux.aux`.
    """

    def advance(state: State, stream: AnyStream) -> tuple[State, Results]:
        after, results = learner.update(state, *read_block(stream, state.step, learner.length))
        if not learner.has_aux:
            return after, results
        return after, results._replace(aux=jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], results.aux))

    return advance


def update_many(learner: Learner, most_updates: int) -> Callable[[State, AnyStream, Int[Array, ""]], tuple[State, Results]]:
    """Make a pure function that does `num_updates` updates, at most `most_updates`; results beyond them are zeros."""
    update = traced_once(update_once(learner))
    begin, advance_loop = start_loop(update, most_updates), continue_loop(update)

    def advance(state: State, stream: AnyStream, num_updates: Int[Array, ""]) -> tuple[State, Results]:
        def unfinished(loop: Loop) -> Array:
            return loop.done < num_updates

        loop = jax.lax.while_loop(unfinished, lambda loop: advance_loop(loop, stream), begin(state, stream))
        return loop.state, loop.results

    return advance


def traced_once(update: Update) -> Update:
    """Make a function that JAX traces once: the shape of its results and the body of a loop share what was traced.

    Tracing takes as long as everything else in the first call of a program that is compiled already.
    """
    return jax.jit(update, inline=True)


def start_loop(update: Update, most_updates: int) -> Callable[[State, AnyStream], Loop]:
    """Make a pure function that starts a loop, with room for the results of `most_updates` updates."""

    def room(leaf: Any) -> Array:
        return jnp.zeros((most_updates * leaf.shape[0], *leaf.shape[1:]), leaf.dtype)

    def begin(state: State, stream: AnyStream) -> Loop:
        _, results = jax.eval_shape(update, state, stream)
        return Loop(jnp.int32(0), state, jax.tree.map(room, results))

    return begin


def continue_loop(update: Update) -> Callable[[Loop, AnyStream], Loop]:
    """Make a pure function that advances a loop by one update."""

    def advance_loop(loop: Loop, stream: AnyStream) -> Loop:
        done, state, results = loop
        state, new = update(state, stream)

        def store(results: Array, new: Array) -> Array:
            return jax.lax.dynamic_update_slice_in_dim(results, new, done * new.shape[0], axis=0)

        return Loop(done + 1, state, jax.tree.map(store, results, new))

    return advance_loop


def compiler_options(one_core: bool = False) -> dict[str, bool | str]:
    """Return the compiler options for the device on which JAX computes. They do not change any number.

    Args:
      one_core: whether elementwise operations stay on one core of a CPU, whatever their size.
    """
    if first_device().platform != "cpu":
        return {}
    return _known_cpu_options() | (ONE_CORE if one_core else {})


def fits_one_core(state: State) -> bool:
    """Return whether updates of this state are faster on one core than with operations split over several."""
    return count_bytes(state) <= ONE_CORE_STATE and count_bytes(state.carry) <= ONE_CORE_CARRY


@functools.cache
def _known_cpu_options() -> dict[str, bool | str]:
    """Return the options if this version of XLA has them, which only trying can tell."""
    try:
        jax.jit(lambda: 0, compiler_options=CPU_OPTIONS).lower().compile()
    except jax.errors.JaxRuntimeError:  # this version has no such option
        return {}
    return CPU_OPTIONS


def _jit_on_leaves(
    advance_loop: Callable[[Loop, AnyStream], Loop], structure: Any, one_core: bool
) -> Callable[[list, AnyStream], list]:
    """Jit the loop on a list of arrays: flattening and rebuilding a tree would cost a fifth of a small call."""

    def call(leaves: list, stream: AnyStream) -> list:
        return jax.tree.leaves(advance_loop(jax.tree.unflatten(structure, leaves), stream))

    return jax.jit(call, donate_argnums=0, compiler_options=compiler_options(one_core))


def _drive_in_pieces(
    stretch: Callable[[State, AnyStream, int], tuple[State, Results]], most_updates: int, learner: Learner
) -> Driver:
    """Make a driver that splits any number of updates into pieces of at most `most_updates`."""
    checked = []

    def check(stream: AnyStream) -> None:
        if not any(stream is each for each in checked):  # its values are looked at once, not at each call
            learner.check(stream)
            is_constant = all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(stream))  # arrays of NumPy are not
            checked[:] = [stream] if is_constant else []

    def drive(state: State, stream: AnyStream, num_updates: int) -> tuple[State, Results]:
        if not is_whole(num_updates, 0):
            raise InputError(f"the number of updates is {num_updates!r}; it must be 0 or more, a whole number")
        _check_state(state)
        check(stream)
        pieces = []
        for done in range(0, num_updates, most_updates):
            count = min(most_updates, num_updates - done)
            state, results = stretch(state, stream, count)
            pieces.append(jax.tree.map(functools.partial(_fetch, count, most_updates), results))
        if not pieces:
            return state, _no_results(learner, state, stream)
        return state, jax.tree.map(lambda *each: np.concatenate(each), *pieces)

    return drive


def _check_state(state: State) -> None:
    """Raise `InputError` if a driver cannot run: no state, inside a transformation of JAX, or with stacked states."""
    check_state(state)
    if any(isinstance(leaf, Tracer) for leaf in jax.tree.leaves(state)):
        raise InputError("a driver cannot run inside jit, grad or vmap; use learner.update there")
    if np.ndim(state.step):
        raise InputError("the states are stacked; drive them with jaxrnn.training.stacked.stacked_driver")


def _fetch(count: int, most_updates: int, results: Array) -> np.ndarray:
    """Fetch the results of the first updates from the room for all of them."""
    return np.asarray(results)[: count * (results.shape[0] // most_updates)]


def _no_results(learner: Learner, state: State, stream: AnyStream) -> Results:
    if not learner.has_aux:
        return np.zeros(0, np.float32)
    _, results = jax.eval_shape(update_once(learner), state, stream)
    return jax.tree.map(lambda leaf: np.zeros((0, *leaf.shape[1:]), leaf.dtype), results)
