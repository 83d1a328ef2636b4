"""Rare characters merged into one class (eq. 7 of Mikolov et al., 2010), from the model to the run."""

import contextlib
import io
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import reference
from conftest import HIDDEN, SMALL
from fixed import apart, case, summed
from test_cli_errors import error_of

from jaxrnn import elman, evaluate, export, network, one_step, train
from jaxrnn.config import build
from jaxrnn.config import settings as config
from jaxrnn.config.settings import PRESETS
from jaxrnn.data import vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError
from jaxrnn.models.classes import with_classes
from jaxrnn.models.model import with_step
from jaxrnn.rules import bptt
from jaxrnn.runs import start
from jaxrnn.scoring.sampling import sample
from jaxrnn.storage import checkpoint, weights
from jaxrnn.storage.weights import Weights

CLASSES = np.array([0, 3, 1, 3, 2, 3, 3], np.int32)  # four of the seven characters are rare
RARE = np.flatnonzero(CLASSES == 3)
BY_HAND = np.array([0.5, 0.2, 0.2, 0.1])  # of the classes
EXPECTED = np.array([0.5, 0.025, 0.2, 0.025, 0.2, 0.025, 0.025])
MERGED = Vocabulary("abcdefg", "bdfg")


@pytest.fixture(scope="module")
def by_hand():
    """A model that always holds the classes likely as above."""
    of_classes = elman(4, HIDDEN)
    logits = jnp.log(jnp.asarray(BY_HAND, jnp.float32))
    return with_classes(with_step(of_classes, lambda params, carry, ids: (carry, logits)), CLASSES)


def test_a_rare_character_has_its_share_of_what_is_likely_of_the_class(by_hand):
    _, logits = by_hand.step({}, jnp.zeros(HIDDEN), jnp.int32(0))
    assert by_hand.vocab_size == 7
    np.testing.assert_allclose(jax.nn.softmax(logits), EXPECTED, rtol=1e-6)
    np.testing.assert_allclose(np.exp(logits).sum(), 1, rtol=1e-6)


def test_rare_characters_are_drawn_as_often_as_each_other(by_hand):
    text = sample(by_hand, {}, np.array([0], np.int32), 20_000, key=jax.random.key(0))
    np.testing.assert_allclose(np.bincount(text, minlength=7) / len(text), EXPECTED, atol=0.01)


@pytest.mark.parametrize(("x", "y"), [(0, 4), (3, 0), (2, 5), (6, 1)])
def test_one_step_is_the_gradient_of_the_witness_of_classes(x, y):
    with jax.enable_x64(True):
        of_classes = elman(4, HIDDEN)
        params = jax.tree.map(lambda array: array.astype(jnp.float64), of_classes.init(jax.random.key(0)))
        h = jax.random.normal(jax.random.key(1), (HIDDEN,), jnp.float64)
        gradient = jax.jit(one_step(with_classes(of_classes, CLASSES)).gradient)
        grads, carry, _, losses, *_ = gradient(params, (), h, jnp.array([x]), jnp.array([y]))
        loss, new_h, expected = reference.gradient(reference.to_float64(params), np.asarray(h), CLASSES[x], CLASSES[y])
        np.testing.assert_allclose(losses, [loss + np.log(4 if y in RARE else 1)], rtol=1e-13)
        np.testing.assert_allclose(carry, new_h, rtol=1e-13)
        for name, array in reference.to_float64(grads).items():
            np.testing.assert_allclose(array, expected[name], rtol=1e-11, atol=1e-15)


GATED, TIED = {"cell": "gru", "embedding_size": 3}, {"embedding_size": 5, "tied_readout": True}
OFTEN = [({}, 4, ()), (GATED, 10, ()), (TIED, 5, (3,))]
SELDOM = [({}, 10, ()), ({}, 5, (3,)), (GATED, 4, ()), (GATED, 5, (3,)), (TIED, 4, ()), (TIED, 10, ())]


@pytest.mark.parametrize(
    ("settings", "length", "streams"), [*OFTEN, *(pytest.param(*case, marks=pytest.mark.slow) for case in SELDOM)]
)
def test_a_model_taken_apart_is_the_whole_one(settings, length, streams):
    model = with_classes(network(vocab_size=4, hidden_size=5, **{"cell": "elman", **settings}), CLASSES)
    with jax.enable_x64(True):
        given = case(model, length, streams)
        whole = summed(bptt(model._replace(layers=()), length), *given)
        assert apart(summed(bptt(model, length), *given), whole) < 1e-12


def test_characters_by_themselves_are_as_they_were_to_the_last_bit():
    of_classes = elman(7, HIDDEN)
    params, carry, x = of_classes.init(jax.random.key(0)), jnp.full(HIDDEN, 0.3), jnp.int32(3)
    same = with_classes(of_classes, np.arange(7))
    np.testing.assert_array_equal(jax.jit(same.step)(params, carry, x)[1], jax.jit(of_classes.step)(params, carry, x)[1])
    unmerged = build.build_model(config.Config(), Vocabulary("abcdefg"))
    programs = [str(jax.make_jaxpr(model.step)(*_shapes(model), x)) for model in (unmerged, network("elman", 7))]
    assert programs[0] == programs[1]


def _shapes(model):
    return jax.eval_shape(lambda key: (model.init(key), model.initial_carry(key, ())), jax.random.key(0))


@pytest.mark.parametrize("wrong", [[0, 1, 2, 2], [0, 1, 2, 3, 4], [1, 2, 3, 4]])
def test_classes_that_the_model_does_not_have_are_an_error(wrong):
    with pytest.raises(InputError, match="must be those of the model, 0 to 3"):
        with_classes(elman(4, HIDDEN), np.array(wrong))


def test_new_characters_beside_merged_ones_get_rows_of_their_own():
    grown = vocabulary.of_text("céda", MERGED)
    assert grown == Vocabulary("abcdefgé", "bdfg")
    settings = config.Config(model=config.ModelConfig(hidden_size=HIDDEN))
    of_both = [build.build_model(settings, known) for known in (MERGED, grown)]
    old, fresh = (model.init(jax.random.key(seed)) for seed, model in enumerate(of_both))
    params = start.inherit_params(fresh, grown, Weights(PRESETS["notebook"], MERGED, old))
    np.testing.assert_array_equal(params["readout"]["kernel"][:3], old["readout"]["kernel"][:3])
    np.testing.assert_array_equal(params["readout"]["kernel"][3], fresh["readout"]["kernel"][3])
    np.testing.assert_array_equal(params["readout"]["kernel"][4], old["readout"]["kernel"][3])
    carry = jnp.full(HIDDEN, 0.3)
    for character in MERGED.characters:
        ids = [jnp.int32(known.characters.index(character)) for known in (MERGED, grown)]
        _, before = jax.jit(of_both[0].step)(old, carry, ids[0])
        _, after = jax.jit(of_both[1].step)(params, carry, ids[1])
        np.testing.assert_allclose(after[:7], before, rtol=1e-6)


FLAGS = [*SMALL, "--rare-threshold", "5"]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """A run of one epoch with merged characters, and what was shown of it."""
    path, shown = tmp_path_factory.mktemp("merged") / "run", io.StringIO()
    with contextlib.redirect_stdout(shown):
        train.main([*FLAGS, "--epochs", "1", "--run-dir", str(path)])
    return path, shown.getvalue()


@pytest.fixture
def run_dir(begun, tmp_path):
    """A copy of it."""
    return shutil.copytree(begun[0], tmp_path / "run")


def test_a_run_s_rare_characters_are_those_of_its_training_part(begun):
    run = checkpoint.load_run(begun[0])
    data = build.load_data(run.config)
    seen = vocabulary.decode(data.vocabulary, data.train)
    rare = "".join(character for character in data.vocabulary.characters if seen.count(character) < 5)
    assert run.vocabulary == data.vocabulary == Vocabulary(data.vocabulary.characters, rare)
    assert len(run.snapshot.state.params["readout"]["kernel"]) == len(run.vocabulary.characters) - len(rare) + 1
    assert f"{len(run.vocabulary.characters)} characters: " in begun[1]
    assert f", {len(rare)} of them merged (under 5 times)\n" in begun[1]


@pytest.mark.slow
def test_exported_weights_come_back_and_start_a_run_that_merges_the_same(run_dir, folder, capsys):
    run, file = checkpoint.load_run(run_dir), folder / "weights.safetensors"
    export.main([str(run_dir), str(file)])
    read = weights.read_weights(file)
    assert (read.config, read.vocabulary) == (run.config, run.vocabulary)
    jax.tree.map(np.testing.assert_array_equal, read.params, run.snapshot.state.params)
    (folder / "new.txt").write_text("Le prix: 5 € ou 7 $, à débattre.\n" * 30, encoding="utf-8")
    train.main([*SMALL, "--text", "new.txt", "--init-from", str(file), "--epochs", "1", "--run-dir", "new"])
    assert f"{len(run.vocabulary.rare)} of them merged\n" in capsys.readouterr().out
    first = checkpoint.read_checkpoint(folder / "new", 1)
    assert first.vocabulary == vocabulary.of_text("Le prix: 5 € ou 7 $, à débattre.\n", run.vocabulary)
    last = [snapshot.snapshot.state.params["readout"]["kernel"][-1] for snapshot in (first, run)]
    np.testing.assert_array_equal(*last)


@pytest.mark.slow
def test_a_run_resumes_and_is_tested_exactly(run_dir, tmp_path, capsys):
    train.main([*FLAGS, "--epochs", "2", "--run-dir", str(tmp_path / "whole")])
    train.main(["--resume", str(run_dir), "--epochs", "2"])
    whole, resumed = checkpoint.load_run(tmp_path / "whole"), checkpoint.load_run(run_dir)
    assert whole.vocabulary == resumed.vocabulary
    jax.tree.map(np.testing.assert_array_equal, whole.snapshot.state, resumed.snapshot.state)
    capsys.readouterr()
    for path in (run_dir, tmp_path / "whole"):
        evaluate.main([str(path), "--json"])
    first, second = capsys.readouterr().out.splitlines()
    assert first == second


def test_what_cannot_be_merged_is_an_error(run_dir, folder, capsys):
    assert "--rare-threshold 10000 merges all characters" in error_of(capsys, train.main, [*SMALL, "--rare-threshold", "10000"])
    flags = ["--rare-threshold", "5", "--init-from", str(run_dir)]
    assert "--rare-threshold does not work with --init-from" in error_of(capsys, train.main, flags)
    assert "--rare-threshold is 3" in error_of(capsys, train.main, ["--resume", str(run_dir), "--rare-threshold", "3"])
