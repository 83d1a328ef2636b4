"""Documents: a text with marks is read as its documents are, each alone, after the newline that stands before it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import VOCAB
from fixed import drawn, often, summed
from marked import MODELS, NEWLINE, begun, close, documents, forgetting, learner_of, marked_text, rule_of, unmarked_text, zeros
from test_loop import primitives

from jaxrnn import fast_driver, nats
from jaxrnn.data.documents import unmark
from jaxrnn.models.documents import with_documents
from jaxrnn.rules import RULES, bptt, rtrl_kronecker, uoro
from jaxrnn.training.drivers import plain_driver, update_many

DRAWING = {"uoro": uoro, "rtrl_kronecker": rtrl_kronecker}  # rules that draw signs
SELDOM = ("leaky", "indrnn", "in one piece")
CASES = [
    *((rule, "gru") for rule in RULES if rule != "rtrl_diagonal"),
    ("rtrl_diagonal", "lru"),
    ("snap1", "layers"),
    ("snap1", "Flax"),
    *(("one_step", name) for name in MODELS if name not in ("gru", *SELDOM)),
    *(pytest.param("one_step", name, marks=pytest.mark.slow) for name in SELDOM),
    *(pytest.param("bptt", name, marks=pytest.mark.slow) for name in MODELS if name != "gru"),
    *(
        pytest.param(rule, "layers", marks=pytest.mark.slow)
        for rule in ("rflo", "eprop", "uoro", "rtrl_kronecker", "tbptt_sliding", "rtrl", "snap_n", "snap_n_lookahead")
    ),
    *(pytest.param(*pair, marks=pytest.mark.slow) for pair in (("snap1", "lru"), ("uoro", "Flax"))),
]


@pytest.mark.parametrize(("rule", "name"), CASES)
def test_a_marked_text_is_learned_as_its_documents_are_one_after_the_other(rule, name):
    """In losses and weights; what reads them one after the other knows of no marks."""
    model = MODELS[name]
    marking, plain = learner_of(rule, with_documents(model)), learner_of(rule, model)
    text = marked_text()
    whole, losses = fast_driver(marking, 90)(begun(marking, model), jnp.asarray(text), (len(text) - 1) // marking.length)
    state, found, drive = begun(plain, model), [], fast_driver(plain, 90)
    for document in documents(unmarked_text()):
        size = (len(document) - 1) // plain.length
        filled = np.zeros(91, np.uint8)  # one program for all of them
        filled[: len(document)] = document
        state, of_document = drive(forgetting(plain, state), jnp.asarray(filled), size)
        found.append(of_document)
    np.testing.assert_allclose(losses, np.concatenate(found), rtol=2e-5)
    close(whole.params, state.params)


@pytest.mark.parametrize("name", often(MODELS, seldom=(*SELDOM, "lru")))
def test_the_gradient_of_a_block_is_that_of_the_unrolled_loop(name):
    """With marks anywhere in it, in two streams at different places: the loop sets a carry back to zeros by itself."""
    model = MODELS[name]
    marks = np.zeros((7, 2), bool)
    marks[[2, 3], 0] = marks[[0, 5], 1] = True
    ids = np.random.default_rng(3).integers(0, VOCAB, (8, 2)).astype(np.int32)
    x, y = ids[:-1], jnp.asarray(ids[1:])
    with jax.enable_x64(True):
        params, carry = drawn(model, (2,), "float64")

        def unrolled(params):
            streams, losses = [], []
            for stream in range(2):
                state = jax.tree.map(lambda leaf, stream=stream: leaf[stream], carry)
                for t in range(7):
                    state, logits = model.step(params, zeros(state) if marks[t, stream] else state, jnp.int32(x[t, stream]))
                    losses.append(nats(logits, y[t, stream]))
                streams.append(state)
            return sum(losses) / len(losses), jax.tree.map(lambda *each: jnp.stack(each), *streams)

        grads, state = jax.jit(jax.grad(unrolled, has_aux=True))(params)
        marked = jnp.asarray(np.where(marks, ~x, x))
        result = jax.jit(bptt(with_documents(model), 7).gradient)(params, (), carry, marked, y)
        close(result.carry, state, rtol=1e-12)
        close(result.grads, grads, rtol=1e-9, atol=1e-14)


@pytest.mark.parametrize(
    "rule",
    often(
        RULES, seldom=("snap_n", "snap_n_lookahead", "snap1_lookahead", "rtrl", "rtrl_diagonal", "tbptt_sliding", "one_step")
    ),
)
def test_streams_with_marks_at_different_places_are_read_as_one_by_one(rule):
    """The gradient of two streams is the mean of their gradients."""
    model = with_documents(MODELS["lru" if rule == "rtrl_diagonal" else "gru"])
    made = DRAWING[rule](model, signs=_alternating) if rule in DRAWING else rule_of(rule, model)
    texts = [marked_text(seed, starts)[:34].astype(np.int32) for seed, starts in ((0, (8, 14)), (1, (20,)))]
    x, y = np.stack(texts, 1)[:-1], unmark(np.stack(texts, 1))[1:]
    params, carry = drawn(model, (2,))
    both = summed(made, params, carry, x, y)
    each = [summed(made, params, jax.tree.map(lambda leaf, n=n: leaf[n], carry), x[:, n], y[:, n]) for n in range(2)]
    close(both, jax.tree.map(lambda a, b: (a + b) / 2, *each), rtol=1e-4, atol=1e-5)
    without = summed(made, params, carry, unmark(x), y)
    apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), both, without)
    assert max(jax.tree.leaves(apart)) > 1e-2


@pytest.mark.parametrize("rule", often(["one_step", "rflo", "snap1", "snap_n", "rtrl"], seldom=("snap_n", "rtrl")))
def test_three_documents_in_two_streams_are_read_as_each_by_itself_bit_for_bit(rule):
    """Documents of 5 and 7 characters in one stream, one of 11 in the other; carry and memory, at fixed weights."""
    model = with_documents(MODELS["gru"])
    made = rule_of(rule, model)
    params, carry = drawn(model, (2,))[0], zeros(drawn(model, (2,))[1])
    memory = made.init(params, carry, jax.random.key(0))
    gradient, rng = jax.jit(made.gradient), np.random.default_rng(4)
    first, second, third = ([*rng.integers(0, VOCAB - 1, size - 1).tolist(), NEWLINE] for size in (5, 7, 11))

    def read(*streams):
        past, found = (memory, carry), []
        for x in np.array(streams, np.int32).T:
            result = gradient(params, *past, jnp.asarray(x[None]), jnp.zeros((1, 2), jnp.int32))
            past = result.memory, result.carry
            found.append(past)
        return found

    def same(a, b, stream):
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[stream], b[stream]), a, b)

    others = third + first  # as long as it takes
    together = read([*first[:-1], ~NEWLINE, *second], others[:12])
    by_itself = read([NEWLINE, *second], others[:8])
    for step, found in enumerate(by_itself):
        same(together[4 + step], found, 0)
    unmarked = read([*first, *second], others[:12])
    for step in range(12):
        same(together[step], unmarked[step], 1)  # the other stream goes on
    assert not np.array_equal(together[4][1][0], unmarked[4][1][0])


def _alternating(key, num_read, shape):
    return jnp.broadcast_to(jnp.where((jnp.arange(shape[-1]) + num_read) % 3 == 0, 1.0, -1.0), shape)


@pytest.mark.parametrize(
    "rule", often([rule for rule in RULES if rule != "bptt"], seldom=("one_step", "rtrl", "snap_n", "snap_n_lookahead"))
)
def test_after_a_mark_nothing_is_left_of_the_past(rule):
    """Not one bit, neither in a gradient nor in the memory, except where the last characters themselves are kept."""
    model = with_documents(MODELS["lru" if rule == "rtrl_diagonal" else "gru"])
    made, (params, carry) = rule_of(rule, model), drawn(model)
    gradient, new = jax.jit(made.gradient), made.init(params, carry, jax.random.key(0))
    past = new, carry
    for x in (3, 1, 4, 1):
        past = gradient(params, *past, jnp.array([x], jnp.int32), jnp.array([5], jnp.int32))[2:0:-1]
    new = new._replace(num_read=past[0].num_read) if rule in DRAWING else new  # on which its signs depend
    begun = new, zeros(carry)
    for x in (~NEWLINE, 2, 6):
        a, b = (gradient(params, *each, jnp.array([x], jnp.int32), jnp.array([5], jnp.int32)) for each in (past, begun))
        jax.tree.map(np.testing.assert_array_equal, a[:2] + a[3:], b[:2] + b[3:])
        past, begun = a[2:0:-1], b[2:0:-1]
    if rule != "tbptt_sliding":
        memories = (each[0]._replace(key=()) if rule in DRAWING else each[0] for each in (past, begun))
        jax.tree.map(np.testing.assert_array_equal, *memories)


@pytest.mark.parametrize("rule", often(RULES, seldom=set(RULES) - {"one_step", "bptt", "uoro"}))
def test_both_drivers_read_marks_alike(rule):
    """The fast one gives the same bits with any number of updates per call; the plain one is another program."""
    model = with_documents(MODELS["lru" if rule == "rtrl_diagonal" else "gru"])
    learner, text = learner_of(rule, model), jnp.asarray(marked_text())
    updates = (len(text) - 1) // learner.length
    drives = (plain_driver(learner), fast_driver(learner, 40), fast_driver(learner, 7))
    plain, fast, shorter = (drive(begun(learner, model), text, updates) for drive in drives)
    np.testing.assert_array_equal(fast[1], shorter[1])
    jax.tree.map(np.testing.assert_array_equal, fast[0].params, shorter[0].params)
    np.testing.assert_allclose(plain[1], fast[1], rtol=2e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), plain[0].params, fast[0].params)


@pytest.mark.parametrize(("rule", "name"), [("one_step", "elman"), ("bptt", "layers"), ("snap1", "gru")])
def test_ids_without_marks_are_read_as_ever(rule, name):
    """To the bit by a model that reads no marks, whatever their type; to the last digits by one that does."""
    found = []
    for model, kind in ((MODELS[name], np.uint8), (MODELS[name], np.int16), (with_documents(MODELS[name]), np.uint8)):
        learner, text = learner_of(rule, model), jnp.asarray(unmarked_text().astype(kind))
        state, losses = fast_driver(learner, 90)(begun(learner, model), text, (len(text) - 1) // learner.length)
        found.append((losses, state.params))
    jax.tree.map(np.testing.assert_array_equal, *found[:2])
    close(found[2], found[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("rule", "name"), [("one_step", "elman"), ("bptt", "gru"), ("snap1", "gru")])
def test_there_is_no_scan_and_without_marks_no_trace_of_them(rule, name):
    def program(model, text):
        learner = learner_of(rule, model)
        run = jax.make_jaxpr(update_many(learner, 4))(begun(learner, model), jnp.asarray(text), jnp.int32(3))
        return list(primitives(run.jaxpr))

    plain, marked = program(MODELS[name], unmarked_text()), program(with_documents(MODELS[name]), marked_text())
    assert "while" in marked
    assert "scan" not in marked
    assert {"xor", "select_n"} <= set(marked)
    assert "xor" not in plain
    assert plain.count("select_n") < marked.count("select_n")
