"""The tree of contexts in which counts are kept: nodes in one array, changed in place.

All its loops work on single numbers, because XLA compiles such loops to machine code that runs without a call per operation.
"""

from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int

# Columns of a node. As a character that followed its parent's context: the character, its count, and the next sibling.
CHARACTER, COUNT, NEXT = 0, 1, 2
# As a context: the sum of its counts; how many characters have a count of 1, 2 and more; and the first child. 0 = no such node.
TOTAL, ONCE, TWICE, MORE, FIRST = 3, 4, 5, 6, 7
NUM_COLUMNS = 8
NODE_BYTES = 4 * NUM_COLUMNS
ROOT = 0  # the empty context

Nodes: TypeAlias = Int[Array, "capacity 8"]
Number: TypeAlias = Int[Array, ""]


class Found(NamedTuple):
    """A context, and a character after it: all that is needed to count the character there."""

    context: Number
    node: Number  # of the character; 0 = it was never counted there
    before: Number  # the node before it, or the context if it is the first
    of_node: tuple[Number, ...]  # the columns from CHARACTER to NEXT
    of_context: tuple[Number, ...]  # those from TOTAL to FIRST


def find(nodes: Nodes, at: Number, is_known: Array, y: Number) -> tuple[Found, Nodes]:
    """Find a character after a context; return it with the nodes, unchanged.

    A caller that changes the nodes later must change the returned ones, and use nothing read from the old ones except `Found`:
    reading those again would make XLA copy them. All columns are read inside the loop, because XLA would read them again later.
    """

    def look(node: Number, before: Number, nodes: Nodes) -> tuple:
        of_node = (get(nodes, node, column) for column in (CHARACTER, COUNT, NEXT))
        return node, before, *of_node, *(get(nodes, at, column) for column in (TOTAL, ONCE, TWICE, MORE, FIRST)), nodes

    def is_other(loop: tuple) -> Array:
        node, _, character, *_ = loop
        return (node != 0) & (character != y)

    def look_further(loop: tuple) -> tuple:
        node, *_, nodes = loop
        following, first = loop[4], jnp.where(is_known, jnp.where(at == ROOT, 1 + y, get(nodes, at, FIRST)), 0)
        return look(jnp.where(node < 0, first, following), jnp.where(node < 0, at, node), nodes)

    none = (jnp.int32(0),) * 6
    start = (jnp.int32(-1), jnp.int32(0), jnp.int32(-1), *none, jnp.int32(0), nodes)
    node, before, *columns, nodes = jax.lax.while_loop(is_other, look_further, start)
    return Found(at, node, before, tuple(columns[:3]), tuple(columns[3:])), nodes


def count(nodes: Nodes, found: Found, node: Number, y: Number, is_counted: Array) -> Nodes:
    """Count y at its node, a new one if none was found, and move it to the front: the most recent character comes first.

    The children of the root keep their places, because they are looked up by place. Whatever is written for a missing node
    goes into columns of the root that nothing reads.
    """
    at, (_, times, following), (total, once, twice, more, first) = found.context, found.of_node, found.of_context
    is_new = (found.node == 0) & (node > 0)
    times, one = jnp.where(is_new, 0, times), is_counted.astype(jnp.int32)
    is_0, is_1, is_2 = (one * (times == n).astype(jnp.int32) for n in (0, 1, 2))
    moves = (at != ROOT) & (is_new | ((node > 0) & (found.before != at)))
    nodes = put_columns(nodes, jnp.where(moves & ~is_new, found.before, ROOT), NEXT, following)
    nodes = put_columns(nodes, node, CHARACTER, y, times + one, jnp.where(moves, first, following))
    counted = (total + one, once + is_0 - is_1, twice + is_1 - is_2, more + is_2)
    return put_columns(nodes, at, TOTAL, *counted, jnp.where(moves, node, first))


def followers(
    nodes: Nodes, contexts: Int[Array, " contexts"], vocab_size: int
) -> tuple[Int[Array, "contexts vocab"], Int[Array, " contexts"]]:
    """Look up how often each character was counted after each context, and which came last; -1 = unknown."""

    def is_context(loop: tuple) -> Array:
        return loop[0] < len(contexts)

    def at_context(loop: tuple) -> tuple:
        def add(loop: tuple) -> tuple:
            node, times = loop
            y = get(nodes, node, CHARACTER)
            times = jax.lax.dynamic_update_slice(times, get(nodes, node, COUNT)[None, None], (k, y))
            return get(nodes, node, NEXT), times

        k, times, last = loop
        is_known, at = contexts[k] >= 0, jnp.maximum(contexts[k], 0)
        first = jnp.where(is_known, get(nodes, at, FIRST), 0)
        of_last = jnp.where((first > 0) & (at != ROOT), get(nodes, first, CHARACTER), -1)
        _, times = jax.lax.while_loop(lambda loop: loop[0] > 0, add, (first, times))
        return k + 1, times, put(last, k, of_last)

    nothing = jnp.zeros((len(contexts), vocab_size), jnp.int32), jnp.full(len(contexts), -1, jnp.int32)
    _, times, last = jax.lax.while_loop(is_context, at_context, (jnp.int32(0), *nothing))
    return times, last


def get(nodes: Nodes, node: Number, column: int) -> Number:
    return jax.lax.dynamic_slice(nodes, (node, jnp.int32(column)), (1, 1))[0, 0]


def put_columns(nodes: Nodes, node: Number, column: int, *numbers: Number) -> Nodes:
    """Write neighbouring columns of a node."""
    return jax.lax.dynamic_update_slice(nodes, jnp.stack(numbers)[None], (node, jnp.int32(column)))


def put(values: Array, place: Number, value: Array) -> Array:
    """Set one value; a place beyond the end means the last one."""
    return jax.lax.dynamic_update_slice(values, value[None], (place,))
