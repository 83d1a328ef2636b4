import contextlib
import fcntl
import os
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import pytest
from jax.experimental.compilation_cache.compilation_cache import reset_cache

from jaxrnn import sample, train
from jaxrnn.data import temporary
from jaxrnn.runtime import compilation_cache
from jaxrnn.runtime.compilation_cache import CACHE_DIR, keep_programs


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder in which programs are kept; JAX has no cache of its own."""
    folder, before = tmp_path / "cache" / "compiled", getattr(jax.config, CACHE_DIR)
    monkeypatch.setattr(compilation_cache, "programs_folder", lambda: folder)
    jax.config.update(CACHE_DIR, None)
    yield folder
    jax.config.update(CACHE_DIR, before)
    reset_cache()


def num_read(wanted=True):
    """Compiles two programs, as a new process would; how many of them were read instead."""
    events = []

    def listener(event, **_):
        events.append(event)

    jax.monitoring.register_event_listener(listener)
    try:
        with keep_programs(wanted):
            for factor in (3.0, 5.0):
                assert jax.jit(lambda x, factor=factor: factor * x)(jnp.float32(2.0)) == 2 * factor
    finally:
        jax.monitoring.unregister_event_listener(listener)
    return events.count("/jax/compilation_cache/cache_hits")


def test_what_was_compiled_is_read_the_next_time(kept):
    assert [num_read() for _ in range(3)] == [0, 2, 2]
    assert len(list(kept.iterdir())) >= 2


@pytest.mark.parametrize(
    "damage", [lambda data: data[: len(data) // 2], lambda data: b"", lambda data: data[:-9] + b"damage 42"]
)
def test_damage_is_harmless_silent_and_mended(kept, damage):
    num_read()
    for path in kept.iterdir():
        path.write_bytes(damage(path.read_bytes()))
    assert [num_read(), num_read()] == [0, 2]


def test_jax_itself_would_go_on_warning(kept, tmp_path):
    """Why there is more to this than a setting of JAX: it neither hides nor mends what a killed process has left."""
    jax.config.update(CACHE_DIR, str(tmp_path))
    reset_cache()
    num_read()
    for path in tmp_path.glob("*-cache"):
        path.write_bytes(path.read_bytes()[:100])
    for _ in range(2):
        reset_cache()
        with pytest.warns(UserWarning, match="Error reading persistent compilation cache entry"):
            num_read()


def test_what_a_killed_process_has_left_is_removed(kept):
    num_read()
    (kept / "jit_something-cache.123").write_bytes(b"half of")
    num_read()
    assert not (kept / "jit_something-cache.123").exists()


def test_a_file_that_another_process_is_writing_is_left_alone(kept):
    num_read()
    with (kept / "jit_something-cache.123").open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert num_read() == 2
        assert (kept / "jit_something-cache.123").exists()
    num_read()
    assert not (kept / "jit_something-cache.123").exists()


def test_the_oldest_are_removed_when_there_are_too_many(kept, monkeypatch):
    num_read()
    files = list(kept.iterdir())
    for age, path in enumerate(files):
        os.utime(path, (1e9 - age, 1e9 - age))
    monkeypatch.setattr(compilation_cache, "MAX_CACHE_BYTES", sum(path.stat().st_size for path in files) - 1)
    num_read()
    assert set(kept.iterdir()) == set(files[:-1])


def test_without_it_nothing_is_kept(kept):
    assert [num_read(wanted=False) for _ in range(2)] == [0, 0]
    assert not kept.exists()


def test_a_folder_that_cannot_be_written_is_none(kept):
    kept.parent.mkdir()
    kept.write_text("no folder")
    assert [num_read(), num_read()] == [0, 0]


def test_no_place_for_temporary_files_is_no_cache(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert [num_read(), num_read()] == [0, 0]


def test_a_user_without_a_home_has_no_cache(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(compilation_cache, "programs_folder", lambda: None)
    monkeypatch.chdir(tmp_path)
    assert [num_read(), num_read()] == [0, 0]
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_takes_only_half_of_a_file_keeps_none_of_it(kept, monkeypatch, tmp_path):
    def take_half(file):
        os.pwrite(file.fileno(), b"half", 0)
        raise OSError(28, "No space left on device")

    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "jit_something-cache").write_bytes(b"half of it is too much")
    monkeypatch.setattr(temporary, "try_lock", take_half)
    compilation_cache.save_programs(tmp_path / "own", kept)
    assert list(kept.iterdir()) == []


def test_what_a_killed_process_has_copied_is_removed(kept, monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    program = (
        "import os, sys, tempfile; from jaxrnn.data import temporary; tempfile.tempdir = sys.argv[1]\n"
        "with temporary.folder() as own: (own / 'half').touch(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    (left,) = tmp_path.glob("jaxrnn-*")
    assert (left / "content" / "half").exists()
    num_read()
    assert not list(tmp_path.glob("jaxrnn-*"))


def test_a_cache_of_jax_is_left_as_it_is(kept, tmp_path):
    jax.config.update(CACHE_DIR, str(tmp_path / "of_the_user"))
    with keep_programs():
        assert getattr(jax.config, CACHE_DIR) == str(tmp_path / "of_the_user")
    assert not kept.exists()


def test_the_settings_of_jax_are_those_of_before_at_the_end(kept):
    names = (CACHE_DIR, *compilation_cache.CACHE_SETTINGS)
    before = [getattr(jax.config, name) for name in names]
    with contextlib.suppress(KeyError), keep_programs():
        assert getattr(jax.config, CACHE_DIR) is not None
        raise KeyError
    assert [getattr(jax.config, name) for name in names] == before


@pytest.mark.slow
def test_the_programs_keep_what_they_compile_unless_they_are_told_not_to(kept, folder):
    small = ["--max-characters", "300", "--hidden-size", "4", "--epochs", "1", "--sample-length", "5"]
    train.main([*small, "--no-compilation-cache"])
    sample.main(["--length", "5", "--no-compilation-cache"])
    assert not kept.exists()
    train.main(small)
    assert any("advance" in path.name for path in kept.iterdir())


def test_importing_the_library_switches_nothing_on():
    environment = {name: value for name, value in os.environ.items() if not name.startswith("JAX_")}
    program = "import jaxrnn, jaxrnn.train, jax; assert jax.config.jax_compilation_cache_dir is None"
    subprocess.run([sys.executable, "-c", program], env=environment, check=True)
