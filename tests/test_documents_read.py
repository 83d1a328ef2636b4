"""A text with marks is scored, counted, mixed and replayed as its documents are one after the other."""

import counts_witness
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HIDDEN, VOCAB, epochs_of, task_of
from fixed import drawn
from marked import (
    COUNTS,
    KINDS,
    LENGTH,
    MODELS,
    NEWLINE,
    STARTS,
    begun,
    documents,
    learner_of,
    marked_text,
    unmarked_text,
    zeros,
)

from jaxrnn import fast_driver, nats, vocabulary
from jaxrnn.config import build
from jaxrnn.data.documents import has_marks, mark, starts_of, type_with_marks, unmark
from jaxrnn.data.streams import read_block, to_streams
from jaxrnn.errors import InputError
from jaxrnn.models.classes import with_classes
from jaxrnn.models.counts import DISCOUNTS
from jaxrnn.models.decisions import Known
from jaxrnn.models.documents import for_ids, with_documents
from jaxrnn.models.mixed_model import MixedParams, mixed_model
from jaxrnn.models.network import network
from jaxrnn.rules.bptt import block_reader
from jaxrnn.runs import task, testing
from jaxrnn.scoring import counting
from jaxrnn.scoring.counting import make_counter, read_before
from jaxrnn.scoring.evaluation import DynamicSettings, frozen_evaluation, rate_evaluation
from jaxrnn.scoring.together import make_reader, read_on
from jaxrnn.training.drivers import plain_driver
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.mixed import columns, make_mixture, mixed
from jaxrnn.training.progress import frequency_nats
from jaxrnn.training.replay import PASSAGE, UNSCORED, Replay, remember, replay_loss, start_past


def test_a_frozen_model_reads_each_document_alone():
    model, text = network("gru", VOCAB, HIDDEN, initialisation="orthogonal"), unmarked_text()  # begins with zeros
    params, key = drawn(model)[0], jax.random.key(0)
    read = frozen_evaluation(model)
    alone = np.concatenate([read(params, document, key) for document in documents(text)])
    np.testing.assert_allclose(frozen_evaluation(with_documents(model))(params, marked_text(), key), alone, rtol=1e-5)
    whole = read(params, text, key)
    np.testing.assert_array_equal(whole[:30], alone[:30])
    assert np.abs(whole - alone)[30:35].max() > 1e-3
    said = "these ids have marks where documents begin, which the model does not read"
    with pytest.raises(InputError, match=said):
        read(params, marked_text(), key)
    with pytest.raises(InputError, match=said):
        next(read_on(make_reader(model, None, COUNTS), params, None, marked_text(), key))


@pytest.mark.parametrize("length", [1, LENGTH])
def test_dynamic_evaluation_learns_from_each_document_alone(length):
    model, text = with_documents(network("gru", VOCAB, HIDDEN, initialisation="orthogonal")), marked_text()
    learner = learner_of("one_step" if length == 1 else "bptt", model)
    found = rate_evaluation(model, DynamicSettings("sgd", (0.2,), length))(drawn(model)[0], text, jax.random.key(0), 0.2)
    _, losses = plain_driver(learner)(begun(learner, model), jnp.asarray(text), (len(text) - 1) // length)
    np.testing.assert_allclose(found, losses, rtol=1e-4)


def test_several_streams_of_a_text_keep_its_marks_and_targets_have_none():
    text, plain = marked_text(), unmarked_text()
    streams = to_streams(text, 2)
    np.testing.assert_array_equal(unmark(streams), to_streams(plain, 2))
    np.testing.assert_array_equal(np.argwhere(streams < 0), [[6, 1], [30, 0]])
    x, y = read_block(jnp.asarray(streams), jnp.int32(2), 15)
    np.testing.assert_array_equal(x, streams[30:45])
    np.testing.assert_array_equal(y, unmark(streams)[31:46])
    _, y = read_block(jnp.asarray(streams), jnp.int32(1), 15)
    np.testing.assert_array_equal(y, unmark(streams)[16:31])
    assert (np.asarray(y) >= 0).all()


@pytest.fixture
def since_marks(monkeypatch):
    """The witness of counts, whose contexts do not reach back beyond the newline before a document."""
    contexts_of = counts_witness.contexts_of

    def since(read, *how):
        before = max((start - 1 for start in STARTS if start <= len(read)), default=0)
        return contexts_of(read[before:], *how)

    monkeypatch.setattr(counts_witness, "contexts_of", since)


def known_to(text, order, begins):
    return counts_witness.witness(text, VOCAB, order, begins, DISCOUNTS)


@pytest.mark.usefixtures("since_marks")
@pytest.mark.parametrize("length", [1, 16])
def test_counts_networks_and_mixtures_begin_anew(length):
    """Counts as the witness gives them, networks as they read each document alone, and the mixture of these predictions."""
    model, text = MODELS["gru"], unmarked_text()
    params = drawn(model)[0]
    learner = mixed(with_documents(model), length, (None,), COUNTS)
    state = learner.begin(params, jax.random.key(0))
    state = copy_arrays(state._replace(carry=zeros(state.carry)))
    updates = 90 // length
    state, losses = fast_driver(learner, updates)(state, jnp.asarray(marked_text()), updates)
    found = columns(losses, 1, 2)
    size, y = updates * length, text[1:].astype(np.int32)
    read = jax.jit(model.step)
    log_ps = []
    for document in documents(text):
        carry = zeros(model.initial_carry(jax.random.key(0), ()))
        for x in document[:-1]:
            carry, logits = read(params, carry, jnp.int32(x))
            log_ps.append(np.asarray(jax.nn.log_softmax(logits)))
    np.testing.assert_allclose(found.networks[:, 0], -np.stack(log_ps)[np.arange(90), y][:size], rtol=2e-5)
    counted = [known_to(text, *kind) for kind in KINDS]
    for column, (p, _, _) in zip(found.counts.T, counted, strict=True):
        np.testing.assert_allclose(column, -np.log(p[np.arange(1, 91), y])[:size], rtol=2e-5)
    agreeing, last = zip(*(counts_witness.by_decisions(times, last, text, VOCAB) for _, times, last in counted), strict=True)
    known = Known(
        jnp.asarray(np.stack([np.stack(log_ps), *(np.log(p[1:]) for p, _, _ in counted)], axis=1)[:size], jnp.float32),
        jnp.asarray(np.concatenate(agreeing, axis=1)[1:][:size], jnp.int32),
        jnp.asarray(np.concatenate(last, axis=1)[1:][:size], jnp.int32),
    )
    mixture = make_mixture(VOCAB, 1, COUNTS)
    _, nats_of_all = jax.jit(mixture.learn)(mixture.init(), known, jnp.asarray(text[:size], jnp.int32), jnp.asarray(y[:size]))
    np.testing.assert_allclose(found.of_all, np.asarray(nats_of_all)[:, -1], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("since_marks")
def test_a_counted_text_is_known_as_the_witness_knows_it():
    """Also when it is counted in pieces, one of which ends at a mark."""
    text = marked_text()
    more = np.array([3, 1, NEWLINE], np.uint8)
    counter = make_counter(COUNTS)
    for cuts in ([], [31], [30, 60]):
        counts = tuple(model.init() for model in COUNTS)
        for piece in np.split(text, cuts):
            counts = counter(counts, piece)
        for model, state, kind in zip(COUNTS, counts, KINDS, strict=True):
            p, _, _ = known_to(np.concatenate([unmark(text), more]), *kind)
            np.testing.assert_allclose(jax.jit(model.predict)(state), p[len(text)], rtol=1e-5)


@pytest.mark.slow
def test_counting_goes_on_where_mixing_ends():
    """What was first counted, then mixed, then counted again is counted as in one go, with a mark in each piece."""
    text = mark(unmarked_text(), np.array([12, 42, 90]))
    before = read_before(MODELS["elman"], COUNTS, text[:-1], most_mixed=48)
    whole = make_counter(COUNTS)(tuple(model.init() for model in COUNTS), text[:-1])
    for found, expected in zip(before.memory.counts, whole, strict=True):
        np.testing.assert_array_equal(found.contexts, expected.contexts)
        np.testing.assert_array_equal(found.nodes, expected.nodes)


def test_a_mixture_to_sample_from_begins_anew_too():
    text, mixture = unmarked_text(), make_mixture(VOCAB, 1, COUNTS)
    counts = make_counter(COUNTS)(tuple(model.init() for model in COUNTS), text)
    params = MixedParams(drawn(MODELS["gru"])[0], counts, mixture.init())
    marking, plain = (mixed_model(model, COUNTS, mixture) for model in (with_documents(MODELS["gru"]), MODELS["gru"]))
    step, step_plain = jax.jit(marking.step), jax.jit(plain.step)
    start = plain.initial_carry(jax.random.key(0), ())
    start = start._replace(network=zeros(start.network))
    carry, alone = start, start
    for x in marked_text()[20:40].astype(np.int32):
        carry, logits = step(params, carry, jnp.int32(x))
        alone = start._replace(previous=alone.previous) if x < 0 else alone
        alone, expected = step_plain(params, alone, jnp.int32(unmark(x)))
        np.testing.assert_allclose(logits, expected, rtol=1e-5)
        jax.tree.map(np.testing.assert_array_equal, carry.contexts, alone.contexts)


def test_replayed_passages_keep_their_marks():
    model, replay = MODELS["gru"], Replay(2, 400, VOCAB)
    params, key = drawn(model)[0], jax.random.key(0)
    text = np.concatenate([marked_text(seed) for seed in range(4)])
    past = start_past(replay, key, reads_marks=True)
    assert past.ids.dtype == np.int16
    for start in range(0, 352, 16):
        past = remember(past, jnp.asarray(text[start : start + 16], jnp.int32))
    np.testing.assert_array_equal(past.ids[:352], text[:352])
    marking = with_documents(model)
    loss = replay_loss(marking, block_reader(marking), replay, past, params)
    most = 352 - PASSAGE - 1
    starts = jax.random.randint(jax.random.fold_in(key, jnp.int32(352)), (2,), 0, most)
    carries, step, losses = model.initial_carry(key, (2,)), jax.jit(model.step), []
    for n, start in enumerate(starts):
        carry = jax.tree.map(lambda leaf, n=n: leaf[n], carries)
        passage = text[start : start + PASSAGE + 1].astype(np.int32)
        for t in range(PASSAGE):
            carry, logits = step(params, zeros(carry) if passage[t] < 0 else carry, jnp.int32(unmark(passage[t])))
            losses += [float(nats(logits, jnp.int32(unmark(passage[t + 1]))))] if t >= UNSCORED else []
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_classes_may_be_merged_before_or_after():
    inner = network("elman", VOCAB - 1, HIDDEN)
    classes = np.array([0, 1, 2, 3, 4, 5, 5])
    params, text = drawn(inner)[0], marked_text()
    before, after = (
        frozen_evaluation(model)(params, text, jax.random.key(0))
        for model in (with_documents(with_classes(inner, classes)), with_classes(with_documents(inner), classes))
    )
    np.testing.assert_array_equal(before, after)


def test_marks_are_taken_off_again_and_say_where_documents_begin():
    text, plain = marked_text(), unmarked_text()
    assert text.dtype == np.int16
    assert has_marks(text)
    assert not has_marks(plain)
    assert unmark(plain) is plain
    np.testing.assert_array_equal(unmark(text), plain)
    np.testing.assert_array_equal(jax.jit(unmark)(jnp.asarray(text)), plain)
    np.testing.assert_array_equal(starts_of(text), STARTS)
    np.testing.assert_array_equal(np.flatnonzero(text < 0), np.array(STARTS) - 1)
    np.testing.assert_array_equal(mark(text, np.array(STARTS)), text)
    np.testing.assert_array_equal(mark(mark(plain, np.array([52])), np.array([31])), text)
    assert mark(plain, np.array([], np.int64)) is plain
    assert starts_of(plain).size == 0
    wide = mark(np.array([40_000, 7], np.uint16), np.array([1]))
    assert (wide.dtype, wide.tolist()) == (np.int32, [~40_000, 7])
    assert (type_with_marks(2**15), type_with_marks(2**15 + 1)) == (np.int16, np.int32)


@pytest.mark.parametrize(("starts", "wrong"), [((0, 5), 0), ((5, 91), 91)])
def test_a_document_cannot_start_outside_the_text(starts, wrong):
    with pytest.raises(InputError, match=f"a document starts at character {wrong}; it must be between 1 and 90"):
        mark(unmarked_text(), np.array(starts))


def test_only_a_model_of_marked_ids_reads_marks():
    model = MODELS["gru"]
    assert for_ids(model, unmarked_text(), np.zeros(0, np.int32)) is model
    marking = for_ids(model, unmarked_text(), marked_text())
    assert marking.reads_marks
    assert with_documents(marking) is marking


@pytest.fixture(scope="module")
def runs():
    """A task on a text without marks, and one on the same text with marks."""
    plain = task_of()
    train, heldout = mark(plain.data.train, np.array([300, 411])), mark(plain.data.heldout, np.array([40]))
    return plain, task.prepare(plain.config, plain.data._replace(train=train, heldout=heldout))


def test_a_run_on_documents_learns_with_marks(runs):
    plain, marking = runs
    assert (marking.model.reads_marks, plain.model.reads_marks, marking.stream.dtype) == (True, False, jnp.int16)
    params, without = (epochs_of(each)[-1].snapshot.state.params for each in (marking, plain))
    assert max(jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), params, without))) > 1e-4


@pytest.mark.slow
def test_a_run_on_documents_is_tested_with_marks(runs):
    """With the network as it was built, which reads none: the numbers are those of one that does."""
    plain, (_, data, marking, *_) = runs[0], runs[1]
    params, how, key = drawn(plain.model)[0], DynamicSettings("sgd", (0.01,), 1), build.make_keys(0).evaluation
    measuring = testing.measure(plain.config, data, plain.model, params, how, testing.TestLimits())
    result, read = counting.run_to_end(measuring), frozen_evaluation(marking)
    assert result.train_nats == pytest.approx(read(params, data.train, key).mean(), rel=1e-5)
    assert result.scores.frozen_nats == pytest.approx(read(params, data.heldout, key).mean(), rel=1e-5)
    assert result.scores.frozen_nats != pytest.approx(read(params, plain.data.heldout, key).mean(), rel=1e-5)


def test_ids_with_marks_are_counted_and_shown_without_them():
    text, plain, known = marked_text(), unmarked_text(), vocabulary.Vocabulary("".join(map(chr, range(VOCAB))))
    assert vocabulary.decode(known, text) == vocabulary.decode(known, plain)
    assert vocabulary.merge_rare(known, text, 12) == vocabulary.merge_rare(known, plain, 12) != known
    assert frequency_nats(text) == frequency_nats(plain)
