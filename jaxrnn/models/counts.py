"""A model that learns by counting, as it reads, which characters follow each context, from the empty one to a long one.

    p(y | context) = (N - D(N)) / total + left p(y | next shorter context)

N is how often y was counted after the context, `total` the sum over all characters, and `left` what the discounts D took away,
so that the probabilities sum to 1. The shortest context is interpolated with 1 / vocab_size. A character is counted after the
longest context first, then after shorter ones, down to the first after which it had been counted before. So shorter contexts
count contexts, not characters ("update exclusion", which gives the counts of Kneser & Ney while the text is still being read).

The counts themselves (`Evidence`) say more than these probabilities: `mixture` learns what each context's counts are worth.

Compile with `training.drivers.compiler_options`: without these options XLA copies the tree (`count_tree`) at every character,
which takes a thousand times longer.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from jaxrnn.errors import InputError, check_whole, is_array, is_number, is_whole, pluralize
from jaxrnn.models import count_tree as tree
from jaxrnn.models.binary_code import BinaryCode, make_code

# Characters in the longest context. Held-out nats per character on Molière: 1.185 with 6, 1.168 with 8, 1.166 with 12, which
# takes three times the memory. The discounts are the best of four that were tried with 8; with 12, (0.9, 1.4, 2.0) are.
ORDER = 8
DISCOUNTS = (0.8, 1.2, 1.6)


class Counts(NamedTuple):
    """What was counted, and where the reader is: arrays only."""

    nodes: tree.Nodes  # i32
    num_nodes: tree.Number  # in use, i32
    contexts: Int[Array, " contexts"]  # nodes of the contexts of the next character, shortest first, i32; -1 = not in the tree


class Evidence(NamedTuple):
    """What was known before a character y: probabilities, and counts grouped by how many decisions of y's code are shared."""

    p: Float[Array, " vocab"]
    agreeing: Int[Array, "contexts agreed"]  # after each context, the sum of the counts of such characters
    last: Int[Array, " contexts"]  # how many decisions the character that came last there shares with y; -1 = unknown


class CountModel(NamedTuple):
    """The pure functions of a model that counts. A character is an id, i32."""

    init: Callable[[], Counts]
    restart: Callable[[Counts], Counts]  # begin another text: contexts are reset, counts kept
    learn: Callable[[Counts, tree.Number], tuple[Counts, Float[Array, ""]]]  # count a character; its probability before that
    read: Callable[[Counts, tree.Number], tuple[Counts, Evidence]]  # count a character; what was known before that
    predict: Callable[[Counts], Float[Array, " vocab"]]
    followers: Callable[[Counts], tuple[Int[Array, "contexts vocab"], Int[Array, " contexts"]]]  # counts; which came last
    advance: Callable[[Counts, tree.Number], Counts]  # read a character without counting it
    num_contexts: int
    vocab_size: int


class _Kind(NamedTuple):
    """Choices that are fixed before the model reads."""

    vocab_size: int
    order: int
    capacity: int
    begins: Bool[np.ndarray, " vocab"] | None
    discounts: tuple[float, float, float]
    dtype: Any
    code: BinaryCode


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
      capacity: nodes of the tree, 32 bytes each. A full tree keeps counting, but adds no new contexts.
      begins: the characters after which contexts begin, such as those between words. The contexts are then the empty one, the
        text since the last such character, the text since the one before that, and so on, `order` of them; the start of a
        text counts as such a character. None = all characters.
      discounts: D of a count of 1, 2 and more.
      dtype: of the probabilities; float64 needs `jax.enable_x64`.
    Raises:
      InputError: `vocab_size` or `order` is under 1, `capacity` under vocab_size + 2, the discounts are not over 0 and under 1,
        2 and 3, or `begins` is not one bool for each character.
    Source: Chen & Goodman (1999), Computer Speech & Language 13(4); update exclusion: Moffat (1990), IEEE Trans. Comm. 38(11).
    """
    check_whole(1, vocab_size=vocab_size)
    has_three = isinstance(discounts, tuple | list) and len(discounts) == 3 and all(map(is_number, discounts))
    allowed = has_three and all(0 < d < count for d, count in zip(discounts, (1, 2, 3), strict=True))
    if not is_whole(order, 1) or not is_whole(capacity, vocab_size + 2) or not allowed:
        raise InputError(
            f"order is {order}, capacity {capacity}, discounts {discounts}; they must be at least 1, at least "
            f"{vocab_size + 2}, and over 0 and under 1, 2 and 3"
        )
    if begins is not None and not (is_array(begins) and begins.shape == (vocab_size,) and begins.dtype == bool):
        raise InputError(f"begins must be an array of {pluralize(vocab_size, 'bool')}, one for each character")
    kind = _Kind(vocab_size, order, capacity, begins, discounts, dtype, make_code(vocab_size))
    return CountModel(
        init=partial(_init, kind),
        restart=partial(_restart, kind),
        learn=partial(_learn, kind),
        read=partial(_read, kind),
        predict=partial(_predict, kind),
        followers=lambda state: tree.followers(state.nodes, state.contexts, vocab_size),
        advance=partial(_advance, kind),
        num_contexts=order + 1,
        vocab_size=vocab_size,
    )


def _init(kind: _Kind) -> Counts:
    V = kind.vocab_size
    nodes = jnp.zeros((kind.capacity, tree.NUM_COLUMNS), jnp.int32)
    # The characters after the empty context are there from the start: node 1 + character.
    nodes = nodes.at[tree.ROOT, tree.FIRST].set(1)
    nodes = nodes.at[1 : V + 1, tree.CHARACTER].set(jnp.arange(V, dtype=jnp.int32))
    nodes = nodes.at[1:V, tree.NEXT].set(jnp.arange(2, V + 1, dtype=jnp.int32))
    return _restart(kind, Counts(nodes, jnp.int32(V + 2), jnp.zeros(kind.order + 1, jnp.int32)))


def _restart(kind: _Kind, state: Counts) -> Counts:
    contexts = np.full(kind.order + 1, -1, np.int32)
    contexts[0] = tree.ROOT
    if kind.begins is not None:
        contexts[1] = _just_begun(kind)
    return state._replace(contexts=jnp.asarray(contexts))


def _just_begun(kind: _Kind) -> int:
    """Return the node of a context that has just begun and holds no character yet; only with `begins`."""
    return kind.vocab_size + 1


def _learn(kind: _Kind, state: Counts, y: tree.Number) -> tuple[Counts, Float[Array, ""]]:
    """Count y after each context, longest first; also return the probability that it had before."""

    def at_context(loop: tuple) -> tuple:
        k, nodes, num_nodes, contexts, was_seen, p, weight = loop
        is_known, at = contexts[k] >= 0, jnp.maximum(contexts[k], 0)
        share, left = _smooth(kind, nodes, at, is_known, weight)
        times, was_seen, *counted = _count(kind, k, nodes, num_nodes, contexts, was_seen, y)
        return k - 1, *counted, was_seen, p + share * _discounted(kind, times), left

    start = (jnp.int32(kind.order), *state, jnp.bool_(False), jnp.zeros((), kind.dtype), jnp.ones((), kind.dtype))
    _, nodes, num_nodes, contexts, _, p, left = jax.lax.while_loop(_is_context, at_context, start)
    return Counts(nodes, num_nodes, _with_shortest(kind, contexts, y)), p + left / kind.vocab_size


def _read(kind: _Kind, state: Counts, y: tree.Number) -> tuple[Counts, Evidence]:
    """Count y as `_learn` does; also return what had been counted after each context before."""

    def at_context(loop: tuple) -> tuple:
        k, nodes, num_nodes, contexts, was_seen, p, agreeing, last, weight = loop
        is_known, at = contexts[k] >= 0, jnp.maximum(contexts[k], 0)
        share, left = _smooth(kind, nodes, at, is_known, weight)
        p, agreeing, of_last, nodes = _sum_up(kind, k, nodes, at, is_known, share, y, p, agreeing)
        _, was_seen, *counted = _count(kind, k, nodes, num_nodes, contexts, was_seen, y)
        return k - 1, *counted, was_seen, p, agreeing, tree.put(last, k, of_last), left

    num_contexts, depth = kind.order + 1, kind.code.nodes.shape[1]
    agreeing, last = jnp.zeros((num_contexts, depth + 1), jnp.int32), jnp.full(num_contexts, -1, jnp.int32)
    start = (jnp.int32(kind.order), *state, jnp.bool_(False), jnp.zeros(kind.vocab_size, kind.dtype), agreeing, last)
    start = (*start, jnp.ones((), kind.dtype))
    _, nodes, num_nodes, contexts, _, p, agreeing, last, left = jax.lax.while_loop(_is_context, at_context, start)
    after = Counts(nodes, num_nodes, _with_shortest(kind, contexts, y))
    return after, Evidence(p + left / kind.vocab_size, agreeing, last)


def _count(
    kind: _Kind, k: tree.Number, nodes: tree.Nodes, num_nodes: tree.Number, contexts: Array, was_seen: Array, y: tree.Number
) -> tuple[tree.Number, Array, tree.Nodes, tree.Number, Array]:
    """Count y after context k unless it was seen after a longer one; return its count here, and what `_learn` carries on."""
    is_known, at = contexts[k] >= 0, jnp.maximum(contexts[k], 0)
    found, nodes = tree.find(nodes, at, is_known, y)
    is_new = is_known & ~was_seen & (found.node == 0) & (num_nodes < kind.capacity)
    node, times = jnp.where(is_new, num_nodes, found.node), jnp.where(found.node > 0, found.of_node[tree.COUNT], 0)
    nodes = tree.count(nodes, found, node, y, ~was_seen & (node > 0))
    contexts = _with_longer(kind, contexts, k, jnp.where(node > 0, node, -1), y)
    return times, was_seen | (times > 0), nodes, num_nodes + is_new.astype(jnp.int32), contexts


def _predict(kind: _Kind, state: Counts) -> Float[Array, " vocab"]:
    def at_context(loop: tuple) -> tuple:
        k, p, weight = loop
        is_known, at = state.contexts[k] >= 0, jnp.maximum(state.contexts[k], 0)
        share, left = _smooth(kind, state.nodes, at, is_known, weight)

        def add(loop: tuple) -> tuple:
            node, p = loop
            y = tree.get(state.nodes, node, tree.CHARACTER)
            p = tree.put(p, y, p[y] + share * _discounted(kind, tree.get(state.nodes, node, tree.COUNT)))
            return tree.get(state.nodes, node, tree.NEXT), p

        first = jnp.where(is_known, tree.get(state.nodes, at, tree.FIRST), 0)
        return k - 1, jax.lax.while_loop(lambda loop: loop[0] > 0, add, (first, p))[1], left

    start = (jnp.int32(kind.order), jnp.zeros(kind.vocab_size, kind.dtype), jnp.ones((), kind.dtype))
    _, p, left = jax.lax.while_loop(_is_context, at_context, start)
    return p + left / kind.vocab_size


def _advance(kind: _Kind, state: Counts, y: tree.Number) -> Counts:
    def at_context(loop: tuple) -> tuple:
        k, contexts = loop
        is_known, at = contexts[k] >= 0, jnp.maximum(contexts[k], 0)
        node = tree.find(state.nodes, at, is_known, y)[0].node
        return k - 1, _with_longer(kind, contexts, k, jnp.where(node > 0, node, -1), y)

    _, contexts = jax.lax.while_loop(_is_context, at_context, (jnp.int32(kind.order), state.contexts))
    return state._replace(contexts=_with_shortest(kind, contexts, y))


def _is_context(loop: tuple) -> Array:
    return loop[0] >= 0


def _with_longer(kind: _Kind, contexts: Array, k: tree.Number, node: tree.Number, y: tree.Number) -> Array:
    """Store the context that context k becomes after y; one that is too long is overwritten by the next."""
    longer = 1 if kind.begins is None else jnp.asarray(kind.begins)[y].astype(jnp.int32)
    return tree.put(contexts, k + longer, node)


def _with_shortest(kind: _Kind, contexts: Array, y: tree.Number) -> Array:
    contexts = tree.put(contexts, jnp.int32(0), jnp.int32(tree.ROOT))
    if kind.begins is None:
        return contexts
    return tree.put(contexts, jnp.int32(1), jnp.where(jnp.asarray(kind.begins)[y], _just_begun(kind), contexts[1]))


def _smooth(kind: _Kind, nodes: tree.Nodes, at: tree.Number, is_known: Array, weight: Array) -> tuple[Array, Array]:
    """Compute the weight of one count after a context, and the weight that is left to shorter contexts."""
    total = tree.get(nodes, at, tree.TOTAL).astype(kind.dtype)
    share = weight / jnp.maximum(total, 1)
    taken = sum(
        kind.dtype(d) * tree.get(nodes, at, column).astype(kind.dtype)
        for d, column in zip(kind.discounts, (tree.ONCE, tree.TWICE, tree.MORE), strict=True)
    )
    is_used = is_known & (total > 0)
    return jnp.where(is_used, share, 0), jnp.where(is_used, share * taken, weight)


def _discounted(kind: _Kind, times: tree.Number) -> Float[Array, ""]:
    d1, d2, d3 = map(kind.dtype, kind.discounts)
    taken = jnp.where(times == 1, d1, jnp.where(times == 2, d2, d3))
    return jnp.where(times > 0, times.astype(kind.dtype) - taken, 0)


def _sum_up(
    kind: _Kind,
    k: tree.Number,
    nodes: tree.Nodes,
    at: tree.Number,
    is_known: Array,
    share: Array,
    y: tree.Number,
    p: Array,
    agreeing: Array,
) -> tuple[Array, Array, tree.Number, tree.Nodes]:
    """Add what was counted after context k to p and to the evidence for y; return the nodes unchanged (`count_tree.find`)."""
    depth = kind.code.nodes.shape[1]
    words = jnp.asarray(kind.code.words)

    def agree(character: tree.Number) -> tree.Number:
        return jnp.minimum(jax.lax.clz(words[character] ^ words[y]).astype(jnp.int32), depth)

    def add(loop: tuple) -> tuple:
        node, p, agreeing, nodes = loop
        character, times = tree.get(nodes, node, tree.CHARACTER), tree.get(nodes, node, tree.COUNT)
        p = tree.put(p, character, p[character] + share * _discounted(kind, times))
        agreed = agree(character)
        agreeing = jax.lax.dynamic_update_slice(agreeing, (agreeing[k, agreed] + times)[None, None], (k, agreed))
        return tree.get(nodes, node, tree.NEXT), p, agreeing, nodes

    first = jnp.where(is_known, tree.get(nodes, at, tree.FIRST), 0)
    of_last = jnp.where((first > 0) & (at != tree.ROOT), agree(tree.get(nodes, first, tree.CHARACTER)), -1)
    _, p, agreeing, nodes = jax.lax.while_loop(lambda loop: loop[0] > 0, add, (first, p, agreeing, nodes))
    return p, agreeing, of_last, nodes
