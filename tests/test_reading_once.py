"""A text that is read once by network and counts: the preset `reader`."""

import signal

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import SMALL, but, metrics
from test_cli_errors import error_of

from jaxrnn import elman, evaluate, export, fast_driver, inspect, load, sample, text, train, vocabulary
from jaxrnn.config import build
from jaxrnn.config.settings import PRESETS
from jaxrnn.runs import loop
from jaxrnn.storage import checkpoint
from jaxrnn.training import mixed
from jaxrnn.training.drivers import compiler_options
from jaxrnn.training.learner import copy_arrays
from jaxrnn.training.optimizers import make_optimizer
from jaxrnn.training.replay import PASSAGE, Replay, remember, replay_loss, start_past

READER = ["reader", "--text", "comedie", *SMALL, "--embedding-size", "0"]


@pytest.fixture(scope="module")
def read(tmp_path_factory):
    """A run that has read 3,000 characters."""
    path = tmp_path_factory.mktemp("once") / "run"
    train.main([*READER, "--run-dir", str(path)])
    return path


def test_its_result_is_the_online_loss_of_the_mixture(read):
    """Of all characters but the first: as the members give it that read without the program."""
    run, (final,) = checkpoint.load_run(read), [event for event in metrics(read) if event["event"] == "final"]
    data, model = build.load_data(run.config), run.model
    assert not data.heldout.size
    counts = build.build_counts(run.config, data.vocabulary.characters, 3_000)
    learner = mixed.online_with_counts(model, 16, build_optimizer(run.config), counts)
    state = learner.restart(learner.init(build.make_keys(0).init), jax.random.fold_in(build.make_keys(0).epochs, 0))
    state = copy_arrays(state)
    losses, update = [], jax.jit(learner.update, donate_argnums=0, compiler_options=compiler_options())
    for start in range(0, 2_992, 16):
        ids = jnp.asarray(data.train[start : start + 17].astype(np.int32))
        state, nats = update(state, ids[:-1], ids[1:])
        losses.append(np.asarray(nats))
    assert final["online_nats"] == pytest.approx(np.concatenate(losses).mean(dtype=np.float64), rel=1e-5)
    assert not {"heldout_nats", "train_nats"} & set(final)


def build_optimizer(config):
    """The optimizer that the program uses."""
    return build.make_optimizer("adam", config.learning.learning_rate, clip_norm=config.learning.clip_norm)


def test_what_is_shown_is_one_row_and_the_run_loads(read, capsys):
    run = load(read)
    assert run.numbers is not None
    assert f"online {run.numbers.online_nats:.4f} nats" in repr(run)
    assert np.isnan(run.numbers.heldout_nats)
    assert len(run.figure.axes) == 1
    assert "has no held-out part to test on: name a text with --text" in error_of(capsys, evaluate.main, [str(read)])


@pytest.mark.parametrize("flags", [(), pytest.param(("--replay", "2"), marks=pytest.mark.slow)])
def test_it_goes_on_after_a_signal_with_the_same_bits(read, tmp_path, monkeypatch, flags):
    if flags:
        read = tmp_path / "whole"
        train.main([*READER, *flags, "--run-dir", str(read)])
    path, advance, calls = tmp_path / "run", loop.advance, []

    def advance_and_signal(*given):
        calls.append(given)
        if len(calls) == 1:
            signal.raise_signal(signal.SIGTERM)
        return advance(*given)

    monkeypatch.setattr(loop, "advance", advance_and_signal)
    with pytest.raises(SystemExit) as exit_:
        train.main(["reader", *but(READER[1:], "--updates-per-call", "20", "--run-dir", str(path)), *flags])
    assert exit_.value.code == 143
    stopped = checkpoint.load_run(path).snapshot
    assert 0 < int(stopped.state.step) < 187
    train.main(["--resume", str(path)])
    whole, resumed = checkpoint.load_run(read).snapshot, checkpoint.load_run(path).snapshot
    jax.tree.map(np.testing.assert_array_equal, *(jax.tree.map(as_numbers, each.state) for each in (whole, resumed)))
    assert whole.progress.online_nats == resumed.progress.online_nats


def as_numbers(leaf):
    """A random key as the numbers that it is made of."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_other_programs_take_it(read, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    inspect.main([str(read)])
    assert capsys.readouterr().out.count("  good") == 2
    export.main([str(read), "weights.safetensors"])
    evaluate.main([str(read), "--text", "comedie", "--test-characters", "100", "--skip-unknown"])
    assert "all together" in capsys.readouterr().out
    assert "it reads its text once; start a new run" in said_at_resume(capsys, read)
    train.main(["--init-from", str(read), "--text", "comedie", "--max-characters", "2000", "--run-dir", "more"])
    assert "adam at rate 0.002 after every 16 characters" in capsys.readouterr().out


def said_at_resume(capsys, run_dir):
    """What a finished run says when it is to go on."""
    train.main(["--resume", str(run_dir)])
    return capsys.readouterr().out


def test_it_writes_with_what_it_has_counted(read, capsys):
    sample.main([str(read), "--mixed", "--length", "40", "--seed", "3"])
    first = capsys.readouterr().out
    sample.main([str(read), "--mixed", "--length", "40", "--seed", "3"])
    assert capsys.readouterr().out == first
    sample.main([str(read), "--length", "40", "--seed", "3"])
    assert capsys.readouterr().out != first


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--epochs", "2"], "--counts reads the text once, in one stream, without dropout: set --epochs to 1"),
        (["--minutes", "1"], "set --minutes to 0"),
        (["--num-streams", "2"], "set --num-streams to 1"),
        (["--dropout", "0.1"], "set --dropout to 0"),
        (["--rule", "rtrl", "--rule-length", "1"], "--counts works only with --rule one_step or bptt; --rule is rtrl"),
        (["--no-counts", "--replay", "2"], "--replay works only with --counts"),
        (["--replay", "-1"], "--replay is -1; it must be 0 (none) to 10000"),
    ],
)
def test_what_does_not_go_with_it_is_a_one_line_error(capsys, folder, flags, said):
    assert said in error_of(capsys, train.main, [*READER, *flags])
    assert not list(folder.iterdir())


def test_what_is_replayed_was_read_before(model, params):
    """What comes later changes nothing; while there is too little, nothing is learned from it."""
    past, replay = start_past(Replay(3, 400, 7), jax.random.key(0)), Replay(3, 400, 7)
    read = mixed.block_reader(model)
    drawn = np.random.default_rng(1).integers(0, 7, 400).astype(np.int32)
    assert float(replay_loss(model, read, replay, past, params)) == 0
    for start in range(0, 320, 16):
        past = remember(past, jnp.asarray(drawn[start : start + 16]))
    np.testing.assert_array_equal(past.ids[:320], drawn[:320])
    later = past._replace(ids=past.ids.at[320:].set(6))
    loss = float(replay_loss(model, read, replay, past, params))
    assert float(replay_loss(model, read, replay, later, params)) == loss > 0
    changed = past._replace(ids=past.ids.at[:320].set(0))
    assert float(replay_loss(model, read, replay, changed, params)) != loss
    assert past.num_read > 2 * PASSAGE


def test_replay_lowers_the_loss_of_a_network():
    known = vocabulary.of_text(text.read("comedie")[:6_000])
    ids = jnp.asarray(vocabulary.encode(known, text.read("comedie")[:6_000]))
    model, losses = elman(len(known.characters), 16), {}
    for replay in (None, Replay(4, len(ids), 300)):
        learner = mixed.mixed(model, 16, (make_optimizer("adam", 3e-3),), (), replay)
        state = copy_arrays(learner.init(jax.random.key(0)))
        _, found = fast_driver(learner, 374)(state, ids, 374)
        losses[replay] = mixed.columns(found, 1, 0).networks[-2_000:].mean()
    assert losses[Replay(4, len(ids), 300)] < losses[None] - 0.05


def test_the_preset_reads_all_of_a_text():
    reader = PRESETS["reader"]
    assert (reader.text.max_characters, reader.text.heldout_fraction, reader.learning.epochs) == (0, 0, 1)
