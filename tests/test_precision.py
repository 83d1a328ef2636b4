"""Products with factors in bfloat16: where they are chosen, shown and saved, and how a run keeps them."""

import dataclasses
import shutil
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HIDDEN, but, task_of
from test_cli_errors import error_of
from test_products import products_of

from jaxrnn import evaluate, sample, score, train
from jaxrnn.config.saved import config_from_json, config_to_json
from jaxrnn.config.settings import PRESETS, Config, DeviceConfig, LearningConfig, ModelConfig
from jaxrnn.rules import RULES
from jaxrnn.runs import loop as running
from jaxrnn.runs import saving, session
from jaxrnn.runs.advance import advance
from jaxrnn.runs.start import first_snapshot
from jaxrnn.runtime import devices, precision
from jaxrnn.scoring import counting, evaluation, sampling, side_by_side, stream, together
from jaxrnn.storage import checkpoint, store
from jaxrnn.training import drivers


def settings(rule="bptt", num_streams=32, cell="gru", length=8, counts=False, **device):
    learning = LearningConfig(rule=rule, num_streams=num_streams, rule_length=length, counts=counts)
    return Config(model=ModelConfig(cell=cell, hidden_size=HIDDEN), learning=learning, device=DeviceConfig(**device))


def chosen(monkeypatch, in_hardware, *arguments, **more):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: in_hardware)
    return precision.resolve_precision(settings(*arguments, **more)).device.precision


def test_it_is_chosen_where_the_processor_has_it_and_learning_gains(monkeypatch):
    assert chosen(monkeypatch, True) == chosen(monkeypatch, True, cell="lru") == "bfloat16"
    assert chosen(monkeypatch, False) == "float32"
    assert chosen(monkeypatch, True, num_streams=1) == chosen(monkeypatch, True, num_streams=3) == "float32"
    assert chosen(monkeypatch, True, length=1) == "float32"
    assert chosen(monkeypatch, True, counts=True, num_streams=1) == "float32"
    assert chosen(monkeypatch, True, cell="flax.linen:GRUCell") == "float32"
    assert {chosen(monkeypatch, True, rule) for rule in set(RULES) - {"bptt"}} == {"float32"}
    assert chosen(monkeypatch, True, cell="jaxrnn.models.dense:LSTM") == "float32"  # your own may multiply in another way
    assert chosen(monkeypatch, True, precision="float32") == "float32"
    assert chosen(monkeypatch, False, precision="bfloat16") == "bfloat16"


class Gpu(NamedTuple):
    platform: str
    compute_capability: str


@pytest.mark.parametrize(
    ("generation", "expected"), [("9.0", "tensorfloat32"), ("12.0", "tensorfloat32"), ("7.5", "float32"), ("gfx942", "float32")]
)
def test_a_gpu_multiplies_tensorfloat32_from_a_generation_on(monkeypatch, generation, expected):
    monkeypatch.setattr(precision, "first_device", lambda: Gpu("gpu", generation))
    assert chosen(monkeypatch, True) == expected
    assert chosen(monkeypatch, True, length=1) == chosen(monkeypatch, True, num_streams=1) == "float32"
    monkeypatch.setattr(precision, "first_device", lambda: Gpu("tpu", "9.0"))
    assert chosen(monkeypatch, True) == "float32"


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_leaves_the_choice_open(name):
    assert PRESETS[name].device.precision == "auto"


# The function itself, which the tests replace so that all machines do the same.
MULTIPLIES_BFLOAT16 = precision.multiplies_bfloat16.__wrapped__


def test_a_processor_is_believed_if_a_product_shows_it(monkeypatch):
    for features, ratio, expected in (({"avx2"}, 4.0, False), ({"amx_bf16"}, 1.0, False), ({"avx512_bf16", "x"}, 1.9, True)):
        monkeypatch.setattr(precision, "read_features", lambda features=features: features)
        monkeypatch.setattr(precision, "_measure_ratio", lambda ratio=ratio: ratio)
        assert MULTIPLIES_BFLOAT16() is expected


def test_a_product_is_measured():
    assert 0.01 < precision._measure_ratio() < 100


def test_features_are_read_as_linux_lists_them(tmp_path):
    path = tmp_path / "cpuinfo"
    assert precision.read_features(path) == set()
    path.write_text(
        "processor\t: 0\nmodel name\t: A: B\nflags\t\t: fpu avx512_bf16 amx_bf16\n\nprocessor\t: 1\nflags\t\t: other\n"
    )
    assert precision.read_features(path) == {"fpu", "avx512_bf16", "amx_bf16"}
    path.write_text("processor\t: 0\nFeatures\t: fp asimd bf16\n")
    assert precision.read_features(path) == {"fp", "asimd", "bf16"}


TINY = ["gru", "--max-characters", "3000", "--hidden-size", "8", "--embedding-size", "4", "--rule-length", "8"]
TINY += ["--num-streams", "4", "--sample-length", "0", "--dynamic", "fixed", "--dynamic-length", "8", "--epochs", "2"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--precision", "bfloat16"], "--precision bfloat16 on a CPU works only with --rule bptt"),
        (["gru", *but(TINY[1:], "--rule-length", "1"), "--precision", "bfloat16"], "a --rule-length of 2 or more"),
        ([*TINY, "--precision", "bfloat16", "--cell", "flax.linen:GRUCell"], "jaxrnn's own cells"),
        (["reader", "--precision", "bfloat16"], "no --counts"),
        (["reader", "--precision", "tensorfloat32"], "needs an NVIDIA GPU"),
        ([*TINY, "--precision", "tensorfloat32"], "--precision tensorfloat32 needs an NVIDIA GPU"),
    ],
)
def test_what_cannot_be_rounded_is_a_one_line_error(folder, capsys, flags, words):
    assert words in error_of(capsys, train.main, flags)
    assert not list(folder.iterdir())


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A run in bfloat16, because the processor is said to have it."""
    path = tmp_path_factory.mktemp("precision") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(precision, "multiplies_bfloat16", lambda: True)
        train.main([*TINY, "--run-dir", str(path)])
    return path


def test_it_is_shown_and_saved(run_dir, folder, capsys, monkeypatch):
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    train.main([*TINY, "--run-dir", "again"])
    assert "products in bfloat16" in capsys.readouterr().out
    first, again = checkpoint.load_run(run_dir), checkpoint.load_run(folder / "again")
    assert first.config.device.precision == "bfloat16"
    for a, b in zip(jax.tree.leaves(first.snapshot.state), jax.tree.leaves(again.snapshot.state), strict=True):
        np.testing.assert_array_equal(_values(a), _values(b))


def test_a_resumed_run_keeps_it_wherever_it_is_resumed(run_dir, capsys, monkeypatch):
    monkeypatch.setattr(session.precision, "describe_processor", lambda: "another processor")
    train.main(["--resume", str(run_dir), "--epochs", "3", "--schedule", "constant"])
    shown = capsys.readouterr().out
    assert "products in bfloat16" in shown
    assert "another processor now: numbers may differ in the last digits" in " ".join(shown.split())
    assert checkpoint.load_run(run_dir).config.device.precision == "bfloat16"


def test_after_a_kill_it_ends_in_the_same_bits(folder, monkeypatch):
    should_save = saving.should_save
    monkeypatch.setattr(running, "should_save", lambda *given: given[1].epoch is not None or should_save(*given))
    monkeypatch.setattr(saving, "MOST_SAVING", 1.0)
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: True)
    train.main([*TINY, "--run-dir", "run"])
    whole = checkpoint.load_run(folder / "run")
    shutil.rmtree(folder / "run" / "checkpoints" / str(store.list_numbers(folder / "run")[-1]))
    train.main([*TINY, "--run-dir", "run", "--resume", "auto"])
    again = checkpoint.load_run(folder / "run")
    assert again.config == whole.config
    for a, b in zip(jax.tree.leaves(again.snapshot.state), jax.tree.leaves(whole.snapshot.state), strict=True):
        np.testing.assert_array_equal(_values(a), _values(b))


def test_any_number_of_devices_gives_the_same_losses_but_for_the_rounding():
    def online_nats(number):
        device = DeviceConfig(num_devices=number, precision="bfloat16")
        task = task_of(streams=8, rule="bptt", rule_length=5, optimizer="adam", device=device)
        epoch = advance(task, first_snapshot(task), 10**6).epoch
        assert epoch is not None
        return epoch.online_nats

    np.testing.assert_allclose(online_nats(4), online_nats(1), rtol=1e-3)


def _values(leaf):
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def test_tests_and_samples_are_in_float32_whatever_the_learning(monkeypatch):
    found = []
    monkeypatch.setattr(jax.config, "update", lambda name, value: found.append((name, value)))
    precision.use_float32()
    assert found == []  # a CPU rounds nothing by itself
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    precision.use_float32()
    assert found == [("jax_default_matmul_precision", "float32")]


PROGRAMS = {
    "evaluate": (evaluate.main, ["--test-characters", "20"]),
    "sample": (sample.main, ["--length", "3"]),
    "score": (score.main, ["text.txt"]),
    "train": (train.main, ["--epochs", "4", "--schedule", "constant"]),
}


@pytest.mark.parametrize("program", PROGRAMS)
def test_every_program_asks_for_float32_before_it_computes(run_dir, folder, monkeypatch, program):
    """Before anything is compiled for the weights: what was compiled would keep the precision of its time."""
    shutil.copytree(run_dir, "run")
    (folder / "text.txt").write_text("Bonjour.\n", "utf-8")
    seen = []

    def noting(name, function):
        return lambda *arguments, **named: (seen.append(name), function(*arguments, **named))[1]

    monkeypatch.setattr(precision, "use_float32", noting("float32", precision.use_float32))
    for module in (drivers, counting, together, evaluation, stream):
        monkeypatch.setattr(module, "fast_driver", noting("driver", module.fast_driver))
    for module in (sampling, side_by_side):
        monkeypatch.setattr(module, "jit_writing", noting("driver", module.jit_writing))
    monkeypatch.setattr(running, "advance", noting("driver", running.advance))  # what it drives, another test may have made
    main, flags = PROGRAMS[program]
    main(["--resume", "run", *flags] if program == "train" else ["run", *flags])
    assert seen[0] == "float32"
    assert "driver" in seen


def test_wide_layers_in_float32_share_one_device(monkeypatch):
    monkeypatch.setattr(jax, "device_count", lambda: 2)

    def number(cell, width, **device):
        with_width = dataclasses.replace(settings(cell=cell, **device), model=ModelConfig(cell=cell, hidden_size=width))
        return devices.choose_num_devices(with_width)

    assert number("lstm", 512, precision="float32") == number("gru", 600, precision="float32") == 1
    assert number("lstm", 256, precision="float32") == number("gru", 512, precision="float32") == 2
    assert number("lstm", 512, precision="bfloat16") == number("lru", 1024, precision="float32") == 2
    assert number("lstm", 512, precision="float32", num_streams=64) == 2


@pytest.mark.parametrize(("setting", "factors"), [("auto", "float32"), ("float32", "float32"), ("bfloat16", "bfloat16")])
def test_the_settings_decide_what_a_run_multiplies(setting, factors):
    task = task_of(streams=4, rule="bptt", rule_length=4, device=DeviceConfig(num_devices=1, precision=setting))
    state, block = jax.eval_shape(task.learner.init, jax.random.key(0)), jax.ShapeDtypeStruct((4, 4), np.int32)
    assert products_of(task.learner.update, state, block, block) == {(factors, factors)}
    assert products_of(task.model.step, state.params, state.carry, block.update(shape=(4,))) == {("float32", "float32")}


def test_a_run_saved_before_there_was_a_choice_stays_in_float32():
    saved = config_to_json(settings())
    del saved["device"]["precision"]
    assert config_from_json(saved).device.precision == "float32"
    assert config_from_json(config_to_json(settings())).device.precision == "auto"
