"""Weights in a file that other programs read."""

import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy
from test_cli_errors import error_of

from jaxrnn import export, sample
from jaxrnn.errors import InputError
from jaxrnn.storage import checkpoint, weights
from jaxrnn.storage.weights import Weights


@pytest.fixture(scope="module")
def run(trained):
    return checkpoint.load_run(trained / "runs" / "notebook-comedie-0")


@pytest.fixture
def file(run, tmp_path):
    path = tmp_path / "weights.safetensors"
    export.main([str(run.path), str(path)])
    return path


def test_the_weights_come_back_bit_for_bit(run, file, capsys):
    read = weights.read_weights(file)
    assert (read.config, read.vocabulary) == (run.config, run.vocabulary)
    assert jax.tree.structure(read.params) == jax.tree.structure(run.snapshot.state.params)
    jax.tree.map(np.testing.assert_array_equal, read.params, run.snapshot.state.params)
    num_params = sum(leaf.size for leaf in jax.tree.leaves(run.snapshot.state.params))
    export.main([str(run.path), str(file.with_name("again"))])
    assert capsys.readouterr().out == f"{file.with_name('again')}: {num_params:,} weights, the newest, after 5,398 updates\n"


def test_any_reader_finds_the_arrays_by_name_and_the_vocabulary(run, file):
    with safetensors.safe_open(file, "np") as opened:
        assert set(opened.keys()) == {
            "cell.bias", "cell.input_kernel", "cell.recurrent_kernel", "readout.bias", "readout.kernel",
        }  # fmt: skip
        assert opened.metadata()["vocabulary"] == run.vocabulary.characters


def test_the_best_weights_may_be_wanted(trained, tmp_path):
    run = checkpoint.load_run(trained / "runs" / "mikolov2010-comedie-0")
    export.main([str(run.path), str(tmp_path / "best"), "--weights", "best"])
    jax.tree.map(np.testing.assert_array_equal, weights.read_weights(tmp_path / "best").params, run.snapshot.best_params)


def test_a_flipped_bit_is_found_wherever_it_is(file):
    good = file.read_bytes()
    for place in np.linspace(0, len(good) - 1, 40).astype(int):
        damaged = bytearray(good)
        damaged[place] ^= 4
        file.write_bytes(damaged)
        with pytest.raises(InputError):
            weights.read_weights(file)


def test_what_does_not_fit_is_an_error(run, file, tmp_path, capsys):
    assert "already exists" in error_of(capsys, export.main, [str(run.path), str(file)])
    assert "cannot be written" in error_of(capsys, export.main, [str(run.path), str(tmp_path / "none" / "x")])
    assert "no run in" in error_of(capsys, export.main, [str(tmp_path), str(tmp_path / "x")])
    safetensors.numpy.save_file({"a": np.ones(2)}, tmp_path / "foreign")
    with pytest.raises(InputError, match="was not written by jaxrnn"):
        weights.read_weights(tmp_path / "foreign")
    more = {**run.snapshot.state.params, "more": jnp.ones(2)}
    (tmp_path / "more").write_bytes(weights.weights_to_bytes(Weights(run.config, run.vocabulary, more)))
    with pytest.raises(InputError, match="does not hold the arrays"):
        weights.read_weights(tmp_path / "more")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("-", "FILE is '-', but weights cannot go to the screen"),
        ("weights.npz", "name it 'weights.safetensors'"),
        ("weights.pt", "name it 'weights.safetensors'"),
        ("none/weights", "there is no folder 'none'"),
        ("file/weights", "there is no folder 'file'"),
        ("folder", "already exists"),
        ("link", "already exists"),
        ("x" * 300, "File name too long"),
    ],
)
def test_a_file_that_cannot_be_written_is_a_one_line_error(run, folder, capsys, name, said):
    (folder / "file").write_text("mine")
    (folder / "folder").mkdir()
    (folder / "link").symlink_to("nowhere")
    before = sorted(folder.rglob("*"))
    assert said in error_of(capsys, export.main, [str(run.path), name])
    assert sorted(folder.rglob("*")) == before
    assert (folder / "file").read_text() == "mine"


def test_the_reader_in_the_guide_samples_what_the_model_holds_likely(run, file, capsys, monkeypatch):
    page = Path(__file__).parent.parent.joinpath("docs", "how-to", "export.md").read_text("utf-8")
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "safe_open" in block]
    assert len(program.splitlines()) <= 30
    monkeypatch.chdir(file.parent)
    names = {}
    exec(program, names)
    written = capsys.readouterr().out
    assert set(written.strip()) <= set(run.vocabulary.characters)
    assert len(written) > 200
    h, carry = np.full(8, 0.3, np.float32), jnp.full(8, 0.3)
    for i in (3, 1, 4):
        h, logits = names["step"](h, i)
        carry, expected = jax.jit(run.model.step)(run.snapshot.state.params, carry, jnp.int32(i))
        np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_a_file_of_weights_writes_what_its_run_writes(run, file, capsys):
    written = []
    for source in (run.path, file):
        capsys.readouterr()
        sample.main([str(source), "--prompt", "BARB", "--length", "40", "--exact-length", "--seed", "3"])
        written.append(capsys.readouterr().out)
    assert written[0] == written[1]
    assert len(written[0]) == 45
    for flags, said in ((["--mixed"], "--mixed"), (["--weights", "best"], "--weights best")):
        assert f"{said} needs the folder of a run" in error_of(capsys, sample.main, [str(file), *flags])
