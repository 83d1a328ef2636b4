"""A new run from the weights of an old one."""

import dataclasses
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL, events, task_of
from test_cli_errors import error_of

from jaxrnn import elman, export, train
from jaxrnn.config import auto
from jaxrnn.config.resolve import inherited_settings, resolve
from jaxrnn.config.settings import PRESETS, DeviceConfig, RunConfig
from jaxrnn.config.validate import check_config
from jaxrnn.data import vocabulary
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.runs import session, start
from jaxrnn.storage import checkpoint, weights
from jaxrnn.storage.weights import Weights

OLD, GROWN = Vocabulary("bdf"), Vocabulary("abcdef")


@pytest.mark.parametrize("initialisation", ["pytorch", "mikolov"])
def test_old_characters_keep_their_rows_exactly_and_new_ones_are_as_at_the_start(initialisation):
    old_model, model = (elman(len(known.characters), 5, "sigmoid", initialisation) for known in (OLD, GROWN))
    old, fresh = old_model.init(jax.random.key(1)), model.init(jax.random.key(2))
    params = start.inherit_params(fresh, GROWN, Weights(PRESETS["notebook"], OLD, old))
    rows = vocabulary.encode(GROWN, OLD.characters)
    new_rows = np.setdiff1d(np.arange(6), rows)
    for part, name in (("cell", "input_kernel"), ("readout", "kernel")):
        np.testing.assert_array_equal(params[part][name][rows], old[part][name])
        np.testing.assert_array_equal(params[part][name][new_rows], fresh[part][name][new_rows])
    np.testing.assert_array_equal(params["cell"]["recurrent_kernel"], old["cell"]["recurrent_kernel"])
    carry = jnp.full(5, 0.3)
    for character in OLD.characters:
        ids = [jnp.int32(known.characters.index(character)) for known in (OLD, GROWN)]
        _, old_logits = jax.jit(old_model.step)(old, carry, ids[0])
        _, logits = jax.jit(model.step)(params, carry, ids[1])
        np.testing.assert_allclose(logits[rows], old_logits, rtol=1e-6)


def test_an_error_while_the_loop_is_traced_ahead_is_left_to_the_first_update():
    task, message = task_of(), "no such update"

    def drive(state, stream, num_updates):
        raise ValueError(message)

    snapshot = start.first_snapshot(task._replace(drive=drive))
    jax.tree.map(np.testing.assert_array_equal, snapshot.state.params, start.first_snapshot(task).state.params)


def test_the_same_vocabulary_takes_the_weights_as_they_are(model, params):
    known = Vocabulary("abcdefg")
    same = start.inherit_params(model.init(jax.random.key(5)), known, Weights(PRESETS["notebook"], known, params))
    jax.tree.map(np.testing.assert_array_equal, same, params)


@pytest.mark.parametrize(
    ("known", "said"), [(-1, "1 new character: "), (-2, "2 new characters: "), (None, "no new characters")]
)
def test_new_characters_are_counted_in_english(params, known, said):
    task = task_of()
    origin = Weights(task.config, Vocabulary(task.data.vocabulary.characters[:known]), params)
    assert said in session.describe_origin(task.config, task, origin, None)["weights"]


def test_a_run_starts_from_a_run_and_its_vocabulary_grows(trained, folder, capsys):
    origin = trained / "runs" / "mikolov2010-comedie-0"
    (folder / "new.txt").write_text("Le prix: 5 € ou 7 $, à débattre.\n" * 30, encoding="utf-8")
    untested = ["--heldout-fraction", "0", "--validation-fraction", "0.1"]
    train.main([*SMALL, "--text", "new.txt", "--init-from", str(origin), "--epochs", "1", *untested, "--run-dir", "new"])
    out = capsys.readouterr().out
    run, old = checkpoint.load_run(folder / "new"), checkpoint.load_run(origin)
    new = "".join(sorted(set(run.vocabulary.characters) - set(old.vocabulary.characters)))
    assert f"weights     those of {origin}; {len(new)} new characters: {new}" in out
    assert "€" in new
    assert set(run.vocabulary.characters) == set(old.vocabulary.characters) | set("Le prix: 5 € ou 7 $, à débattre.\n")
    assert run.config.run.init_from == str(origin)
    first = checkpoint.read_checkpoint(folder / "new", 1)
    rows = vocabulary.encode(run.vocabulary, old.vocabulary.characters)
    np.testing.assert_array_equal(
        first.snapshot.state.params["readout"]["kernel"][rows], old.snapshot.state.params["readout"]["kernel"]
    )
    assert int(first.snapshot.state.step) == 0
    assert (run.config.model, run.config.learning.schedule) == (old.config.model, "halving")
    assert "settings    those of learning and evaluation are inherited, since no preset is named" in out


@pytest.fixture
def gated():
    """The settings of a GRU as they are when a run of ten minutes has chosen them."""
    config = PRESETS["gru"]
    return dataclasses.replace(
        auto.resolve_auto(config, 1_000_000),
        learning=dataclasses.replace(config.learning, learning_rate=0.01, dropout=0.1, minutes=10.0),
        run=RunConfig(run_dir="old", seed=7),
    )


def test_without_a_preset_a_run_learns_and_is_tested_as_the_one_it_starts_from(gated):
    settings = inherited_settings(gated, None)
    assert settings.learning == dataclasses.replace(PRESETS["gru"].learning, dropout="auto", learning_rate="auto")
    assert settings.evaluation == PRESETS["gru"].evaluation
    assert (settings.model, settings.text) == (gated.model, PRESETS["gru"].text)
    assert (settings.run, settings.device) == (RunConfig(), DeviceConfig())


def test_with_a_preset_only_the_network_is_that_of_the_weights(gated):
    settings = inherited_settings(gated, "notebook")
    assert settings == dataclasses.replace(PRESETS["notebook"], model=gated.model)


def test_what_a_flag_says_is_taken_and_the_rate_suits_it(gated):
    flags = ["--optimizer", "sgd", "--text", "new.txt", "--epochs", "1"]
    given = train.parse(flags)
    config = resolve(given._replace(values={**given.values, "init_from": "old"}), origin=gated)
    check_config(config)
    assert (config.learning.rule, config.learning.epochs, config.text.text) == ("bptt", 1, "new.txt")
    assert auto.resolve_auto(config, 10_000).learning.learning_rate == 1.0


def test_the_settings_of_an_origin_are_those_of_its_weights(trained, tmp_path):
    origin = trained / "runs" / "mikolov2010-comedie-0"
    export.main([str(origin), str(tmp_path / "weights")])
    expected = checkpoint.load_run(origin).config
    assert start.read_origin_config(origin) == start.read_origin_config(tmp_path / "weights") == expected
    assert start.read_origin_config(tmp_path / "none") is None
    (tmp_path / "text").write_text("no weights")
    assert start.read_origin_config(tmp_path / "text") is None


@pytest.mark.slow
def test_it_resumes_even_if_it_was_stopped_before_it_saved(trained, folder):
    arguments = [*SMALL, "--init-from", str(trained / "runs" / "mikolov2010-comedie-0"), "--epochs", "1", "--run-dir", "new"]
    train.main([*arguments, "--resume", "auto"])
    expected = checkpoint.load_run(folder / "new")
    shutil.rmtree(folder / "new" / "checkpoints")
    (folder / "new" / "metrics.jsonl").unlink()
    train.main([*arguments, "--resume", "auto"])
    again = checkpoint.load_run(folder / "new")
    jax.tree.map(np.testing.assert_array_equal, again.snapshot.state, expected.snapshot.state)


@pytest.mark.slow
def test_a_file_of_weights_starts_a_run_like_the_run_itself(trained, folder, capsys):
    origin = trained / "runs" / "notebook-comedie-0"
    export.main([str(origin), "weights.safetensors"])
    for name, source in (("a", str(origin)), ("b", "weights.safetensors")):
        train.main([*SMALL, "--init-from", source, "--epochs", "1", "--run-dir", name])
    a, b = (checkpoint.load_run(folder / name) for name in "ab")
    jax.tree.map(np.testing.assert_array_equal, a.snapshot.state, b.snapshot.state)
    assert "no new characters" in capsys.readouterr().out


def test_what_cannot_be_started_from_is_an_error(trained, folder, capsys):
    origin = str(trained / "runs" / "notebook-comedie-0")
    (folder / "text.txt").write_text("no weights")
    message = error_of(capsys, train.main, ["--init-from", origin, "--activation", "tanh"])
    assert f"--activation is tanh, but the weights in {origin!r} belong to a network with sigmoid" in message
    assert "no run in 'none'" in error_of(capsys, train.main, ["--init-from", "none"])
    assert "cannot be read as a safetensors file" in error_of(capsys, train.main, ["--init-from", "text.txt"])
    assert [path.name for path in folder.iterdir()] == ["text.txt"]


def test_old_weights_far_above_a_guess_do_not_diverge_before_they_have_begun(trained, folder, capsys):
    """Sure of themselves, and wrong on another text: their loss is high at first, at any rate."""
    run = checkpoint.load_run(trained / "runs" / "notebook-comedie-0")
    sure = jax.tree.map(lambda leaf: 30 * leaf, run.snapshot.state.params)
    Path("sure.safetensors").write_bytes(weights.weights_to_bytes(Weights(run.config, run.vocabulary, sure)))
    other = "".join(np.random.default_rng(0).permutation(list("zqx!;:" * 500)))
    Path("other.txt").write_text(other, encoding="utf-8")
    flags = ["--text", "other.txt", "--epochs", "1", "--learning-rate", "1e-6", "--run-dir", "new"]
    train.main(["--init-from", "sure.safetensors", *flags])
    first = next(event["online_nats"] for event in events(folder / "new") if event["event"] == "progress")
    assert first > 3 * np.log(len(run.vocabulary.characters))
    out = capsys.readouterr().out
    assert "times its best" not in out
    assert "rose" not in out
    assert checkpoint.load_run("new").snapshot.progress.lowest_window <= first
