"""A model that learns by counting: which characters followed each context, from the empty one to a long one, as it reads.

    p(y | context) = (N - D(N)) / total + left p(y | next shorter context)

N is how often y was counted after the context, `total` the sum over all characters, and `left` what the discounts D took away,
so that the probabilities sum to 1. The shortest context is interpolated with 1 / vocab_size. A character is counted after the
longest context first, then after shorter ones until the first at which it had been counted before: shorter contexts count
contexts, not characters ("update exclusion", which gives the counts of Kneser & Ney while the text is still being read).

The contexts are a tree in one array. All loops are over single numbers in it, because XLA compiles such loops to machine code
that runs without a call per operation. Compile them with `training.drivers.cpu_compiler_options`: without these, XLA copies the
tree at each character, which takes a thousand times longer.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrnn.errors import InputError

# Columns of a node. As a character after the context of its parent: the character, its count, and the next character there.
CHARACTER, COUNT, NEXT = 0, 1, 2
# As a context: the sum of counts, how many characters have count 1, 2 and more, and the first character; 0 = no such node.
TOTAL, ONCE, TWICE, MORE, FIRST = 3, 4, 5, 6, 7
NUM_COLUMNS = 8
NODE_BYTES = 4 * NUM_COLUMNS
ROOT = 0  # the empty context

# Characters in the longest context. Held-out nats per character on Molière: 6 1.185, 8 1.168, 12 1.166, which takes three times
# the memory. The discounts are the best of four for 8; for 12 (0.9, 1.4, 2.0) are.
ORDER = 8
DISCOUNTS = (0.8, 1.2, 1.6)

Nodes: TypeAlias = Int[Array, "capacity 8"]
Number: TypeAlias = Int[Array, ""]


class Counts(NamedTuple):
    """What was counted, and where the reader is: arrays only."""

    nodes: Nodes  # i32
    num_nodes: Number  # in use, i32
    contexts: Int[Array, " contexts"]  # nodes of the contexts of the next character, shortest first, i32; -1 = not in the tree


class CountModel(NamedTuple):
    """The pure functions of a model that counts. A character is an id, i32."""

    init: Callable[[], Counts]
    restart: Callable[[Counts], Counts]  # a new text: contexts anew, counts kept
    learn: Callable[[Counts, Number], tuple[Counts, Float[Array, ""]]]  # count a character -> its probability before
    read: Callable[[Counts, Number], tuple[Counts, Float[Array, " vocab"]]]  # count a character -> all probabilities before
    predict: Callable[[Counts], Float[Array, " vocab"]]
    advance: Callable[[Counts, Number], Counts]  # read a character without counting it


class _Kind(NamedTuple):
    """What is decided before the model reads."""

    vocab_size: int
    order: int
    capacity: int
    begins: Bool[np.ndarray, " vocab"] | None
    discounts: tuple[float, float, float]
    dtype: Any


def count_model(
    vocab_size: int,
    order: int = ORDER,
    capacity: int = 1 << 20,
    *,
    begins: Bool[np.ndarray, " vocab"] | None = None,
    discounts: tuple[float, float, float] = DISCOUNTS,
    dtype: Any = jnp.float32,
) -> CountModel:
    """Make a model that counts characters after contexts of 0 to `order` characters.

    Args:
      capacity: nodes of the tree, 32 bytes each. A full tree keeps counting, but takes in no new contexts.
      begins: the characters after which contexts begin, such as those between words: the contexts are then the empty one, the
        text since the last such character, since the one before, and so on, `order` of them. The start of a text begins one,
        too. None = all characters.
      discounts: D of a count of 1, 2 and more.
      dtype: of the probabilities; float64 needs `jax.enable_x64`.
    Raises:
      InputError: an order under 1, a capacity under vocab_size + 2, or discounts not over 0 and under 1, 2 and 3.
    Source: Chen & Goodman (1999), Computer Speech & Language 13(4); update exclusion: Moffat (1990), IEEE Trans. Comm. 38(11).
    """
    allowed = all(0 < d < count for d, count in zip(discounts, (1, 2, 3), strict=True))
    if order < 1 or capacity < vocab_size + 2 or not allowed:
        raise InputError(
            f"order is {order}, capacity {capacity}, discounts {discounts}; they must be at least 1, at least "
            f"{vocab_size + 2}, and over 0 and under 1, 2 and 3"
        )
    kind = _Kind(vocab_size, order, capacity, begins, discounts, dtype)
    return CountModel(
        init=partial(_init, kind),
        restart=partial(_restart, kind),
        learn=partial(_count, kind, predict_all=False),
        read=partial(_count, kind, predict_all=True),
        predict=partial(_predict, kind),
        advance=partial(_advance, kind),
    )


def _init(kind: _Kind) -> Counts:
    V = kind.vocab_size
    nodes = jnp.zeros((kind.capacity, NUM_COLUMNS), jnp.int32)
    nodes = nodes.at[ROOT, FIRST].set(1)  # the characters after the empty context are there from the start: node 1 + character
    nodes = nodes.at[1 : V + 1, CHARACTER].set(jnp.arange(V, dtype=jnp.int32))
    nodes = nodes.at[1:V, NEXT].set(jnp.arange(2, V + 1, dtype=jnp.int32))
    return _restart(kind, Counts(nodes, jnp.int32(V + 2), jnp.zeros(kind.order + 1, jnp.int32)))


def _restart(kind: _Kind, state: Counts) -> Counts:
    contexts = np.full(kind.order + 1, -1, np.int32)
    contexts[0] = ROOT
    if kind.begins is not None:
        contexts[1] = _just_begun(kind)
    return state._replace(contexts=jnp.asarray(contexts))


def _just_begun(kind: _Kind) -> int:
    """The node of a context without a character yet, where not all characters begin one."""
    return kind.vocab_size + 1


def _count(kind: _Kind, state: Counts, y: Number, predict_all: bool) -> tuple[Counts, Float[Array, "*vocab"]]:
    """Count y after each context, longest first, and sum up what the contexts give to the probabilities before."""

    def at_context(loop: tuple) -> tuple:
        k, nodes, num_nodes, contexts, was_seen, p, weight = loop
        is_known, at = contexts[k] >= 0, jnp.maximum(contexts[k], 0)
        share, left = _smooth(kind, nodes, at, is_known, weight)
        if predict_all:
            p, nodes = _add_all(kind, nodes, at, is_known, share, p)
        node, last, times, nodes = _find(nodes, at, is_known, y)
        if not predict_all:
            p = p + share * _discounted(kind, times)
        is_new = is_known & ~was_seen & (node == 0) & (num_nodes < kind.capacity)
        node = jnp.where(is_new, num_nodes, node)
        nodes = _append(nodes, at, last, node, y, is_new)
        nodes = _increase(nodes, at, node, times, is_known & ~was_seen & (node > 0))
        contexts = _with_longer(kind, contexts, k, jnp.where(is_known & (node > 0), node, -1), y)
        return k - 1, nodes, num_nodes + is_new.astype(jnp.int32), contexts, was_seen | (times > 0), p, left

    none = jnp.zeros(kind.vocab_size if predict_all else (), kind.dtype)
    start = (jnp.int32(kind.order), *state, jnp.bool_(False), none, jnp.ones((), kind.dtype))
    _, nodes, num_nodes, contexts, _, p, left = jax.lax.while_loop(_is_context, at_context, start)
    return Counts(nodes, num_nodes, _with_shortest(kind, contexts, y)), p + left / kind.vocab_size


def _predict(kind: _Kind, state: Counts) -> Float[Array, " vocab"]:
    def at_context(loop: tuple) -> tuple:
        k, p, weight = loop
        is_known, at = state.contexts[k] >= 0, jnp.maximum(state.contexts[k], 0)
        share, left = _smooth(kind, state.nodes, at, is_known, weight)
        return k - 1, _add_all(kind, state.nodes, at, is_known, share, p)[0], left

    start = (jnp.int32(kind.order), jnp.zeros(kind.vocab_size, kind.dtype), jnp.ones((), kind.dtype))
    _, p, left = jax.lax.while_loop(_is_context, at_context, start)
    return p + left / kind.vocab_size


def _advance(kind: _Kind, state: Counts, y: Number) -> Counts:
    def at_context(loop: tuple) -> tuple:
        k, contexts = loop
        is_known, at = contexts[k] >= 0, jnp.maximum(contexts[k], 0)
        node, _, _, _ = _find(state.nodes, at, is_known, y)
        return k - 1, _with_longer(kind, contexts, k, jnp.where(is_known & (node > 0), node, -1), y)

    _, contexts = jax.lax.while_loop(_is_context, at_context, (jnp.int32(kind.order), state.contexts))
    return state._replace(contexts=_with_shortest(kind, contexts, y))


def _is_context(loop: tuple) -> Array:
    return loop[0] >= 0


def _with_longer(kind: _Kind, contexts: Array, k: Number, node: Number, y: Number) -> Array:
    """Put the context that y makes of context k into its place; one that is too long is overwritten by the next."""
    longer = 1 if kind.begins is None else jnp.asarray(kind.begins)[y].astype(jnp.int32)
    return _set(contexts, k + longer, node)


def _with_shortest(kind: _Kind, contexts: Array, y: Number) -> Array:
    contexts = _set(contexts, jnp.int32(0), jnp.int32(ROOT))
    if kind.begins is None:
        return contexts
    return _set(contexts, jnp.int32(1), jnp.where(jnp.asarray(kind.begins)[y], _just_begun(kind), contexts[1]))


def _smooth(kind: _Kind, nodes: Nodes, at: Number, is_known: Array, weight: Array) -> tuple[Array, Array]:
    """Compute the weight of a single count of a context, and the weight that is left to shorter ones."""
    total = _get(nodes, at, TOTAL).astype(kind.dtype)
    share = weight / jnp.maximum(total, 1)
    taken = sum(
        kind.dtype(d) * _get(nodes, at, column).astype(kind.dtype)
        for d, column in zip(kind.discounts, (ONCE, TWICE, MORE), strict=True)
    )
    is_used = is_known & (total > 0)
    return jnp.where(is_used, share, 0), jnp.where(is_used, share * taken, weight)


def _discounted(kind: _Kind, times: Number) -> Float[Array, ""]:
    d1, d2, d3 = map(kind.dtype, kind.discounts)
    taken = jnp.where(times == 1, d1, jnp.where(times == 2, d2, d3))
    return jnp.where(times > 0, times.astype(kind.dtype) - taken, 0)


def _add_all(kind: _Kind, nodes: Nodes, at: Number, is_known: Array, share: Array, p: Array) -> tuple[Array, Nodes]:
    """Add what a context gives to the probabilities of all characters; the same nodes are returned, see `_find`."""

    def add(loop: tuple) -> tuple:
        node, p, nodes = loop
        y = _get(nodes, node, CHARACTER)
        p = _set(p, y, p[y] + share * _discounted(kind, _get(nodes, node, COUNT)))
        return _get(nodes, node, NEXT), p, nodes

    first = jnp.where(is_known, _get(nodes, at, FIRST), 0)
    _, p, nodes = jax.lax.while_loop(lambda loop: loop[0] > 0, add, (first, p, nodes))
    return p, nodes


def _find(nodes: Nodes, at: Number, is_known: Array, y: Number) -> tuple[Number, Number, Number, Nodes]:
    """Find a character after a context: its node, 0 if there is none; the last node visited; its count; and the same nodes.

    Whoever changes the nodes later must use those that are returned here: reading the old ones again would make XLA copy them.
    """

    def look(node: Number, before: Number, nodes: Nodes) -> tuple:
        return node, before, _get(nodes, node, CHARACTER), _get(nodes, node, COUNT), nodes

    def is_other(loop: tuple) -> Array:
        node, _, character, _, _ = loop
        return (node > 0) & (character != y)

    def look_further(loop: tuple) -> tuple:
        node, _, _, _, nodes = loop
        return look(_get(nodes, node, NEXT), node, nodes)

    first = jnp.where(at == ROOT, 1 + y, _get(nodes, at, FIRST))
    node, last, _, times, nodes = jax.lax.while_loop(is_other, look_further, look(jnp.where(is_known, first, 0), at, nodes))
    return node, last, jnp.where(node > 0, times, 0), nodes


def _append(nodes: Nodes, at: Number, last: Number, node: Number, y: Number, is_new: Array) -> Nodes:
    """Append a new node to the characters of a context, of which `last` is the last; nothing if it is not new."""
    nodes = _set_if(is_new & (last == at), nodes, at, FIRST, node)
    nodes = _set_if(is_new & (last != at), nodes, last, NEXT, node)
    return _set_if(is_new, nodes, node, CHARACTER, y)


def _increase(nodes: Nodes, at: Number, node: Number, times: Number, is_counted: Array) -> Nodes:
    """Count a character that was counted so many times after this context."""
    one = is_counted.astype(jnp.int32)
    is_0, is_1, is_2 = (one * (times == n).astype(jnp.int32) for n in (0, 1, 2))
    nodes = _add(nodes, node, COUNT, one)
    nodes = _add(nodes, at, TOTAL, one)
    nodes = _add(nodes, at, ONCE, is_0 - is_1)
    nodes = _add(nodes, at, TWICE, is_1 - is_2)
    return _add(nodes, at, MORE, is_2)


def _get(nodes: Nodes, node: Number, column: int) -> Number:
    return jax.lax.dynamic_slice(nodes, (node, jnp.int32(column)), (1, 1))[0, 0]


def _add(nodes: Nodes, node: Number, column: int, number: Number) -> Nodes:
    return jax.lax.dynamic_update_slice(nodes, (_get(nodes, node, column) + number)[None, None], (node, jnp.int32(column)))


def _set_if(condition: Array, nodes: Nodes, node: Number, column: int, number: Number) -> Nodes:
    value = jnp.where(condition, number, _get(nodes, node, column))
    return jax.lax.dynamic_update_slice(nodes, value[None, None], (node, jnp.int32(column)))


def _set(values: Array, place: Number, value: Array) -> Array:
    """Set one value; a place beyond the end is the last one."""
    return jax.lax.dynamic_update_slice(values, value[None], (place,))
