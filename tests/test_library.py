"""`import jaxrnn` has all public names and imports JAX only when one of them is used."""

import importlib
import subprocess
import sys

import pytest

import jaxrnn


def test_every_public_name_is_there_and_in_its_module():
    public = {name for name in jaxrnn.__all__ if name != "__version__"}
    found = {name: getattr(jaxrnn, name) for name in public}
    assert public == {name for names in jaxrnn.FOUND_IN.values() for name in names} | {*jaxrnn.MODULES}
    for module, names in jaxrnn.FOUND_IN.items():
        assert all(found[name] is getattr(importlib.import_module(f"jaxrnn.{module}"), name) for name in names)
    assert set(jaxrnn.__all__) <= set(dir(jaxrnn))


def test_a_name_that_does_not_exist_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'jaxrnn' has no attribute 'nonsense'"):
        _ = jaxrnn.nonsense


@pytest.mark.parametrize("name", ["x.y", "text.y", "text.", ".text", "..", "", "a\0b", "é"])
def test_what_is_no_name_is_no_attribute(name):
    assert not hasattr(jaxrnn, name)


def test_the_package_itself_imports_no_jax_and_prints_nothing():
    program = "import sys, jaxrnn, jaxrnn.console.plot; assert 'jax' not in sys.modules; assert callable(jaxrnn.elman)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_function_that_samples_is_found_in_the_program_that_prints_its_text():
    from jaxrnn.sample import sample
    from jaxrnn.scoring import sampling

    assert sample is sampling.sample
    assert importlib.import_module("jaxrnn.train") is jaxrnn.train
