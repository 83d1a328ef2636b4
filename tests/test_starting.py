"""A program says at once that it is starting, on a terminal only."""

import fcntl
import io
import os
import struct
import subprocess
import sys
import termios

import pytest

from jaxrnn.console import starting


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize(
    ("screen", "term", "said"), [(Terminal, "xterm", True), (Terminal, "dumb", False), (io.StringIO, "xterm", False)]
)
def test_only_a_terminal_gets_the_word(monkeypatch, screen, term, said):
    written = screen()
    monkeypatch.setattr(sys, "stdout", written)
    monkeypatch.setenv("TERM", term)
    starting.show_word()
    assert written.getvalue() == ("\rstarting" if said else "")
    starting.clear_word()
    assert written.getvalue().endswith("\r        \r") == said


@pytest.mark.parametrize("screen", [None, io.StringIO()])
def test_a_screen_that_is_gone_is_no_error(monkeypatch, screen):
    if screen:
        screen.close()
    monkeypatch.setattr(sys, "stdout", screen)
    starting.show_word()
    starting.clear_word()


@pytest.mark.parametrize("program", ["train", "evaluate", "sample", "inspect", "export"])
def test_a_program_says_it_before_jax_is_imported(program, tmp_path):
    """Without JAX it comes no further than that."""
    (tmp_path / "jax.py").write_text("raise SystemExit(7)")
    read, write = os.openpty()
    fcntl.ioctl(write, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path]), "TERM": "xterm"}
    done = subprocess.run([sys.executable, "-m", f"jaxrnn.{program}"], stdout=write, env=environment, cwd=tmp_path, check=False)
    os.close(write)
    assert (done.returncode, os.read(read, 100)) == (7, b"\rstarting")
    os.close(read)
