"""`sample --interactive`: on a terminal, where a second answer comes at once, and in a pipe."""

import io
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from conftest import READS_COMPILED

import jaxrnn
from jaxrnn import sample
from jaxrnn.console import interactive
from jaxrnn.scoring import sampling

MARK = b"> "
ENVIRONMENT = {**os.environ, **READS_COMPILED, "TERM": "xterm", "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
# Ctrl-C reaches only the programs of a terminal that controls them.
TAKES_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'jaxrnn.sample', *sys.argv[1:]])"
)


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, *arguments):
        self.descriptor, inside = pty.openpty()
        command = [sys.executable, "-c", TAKES_TERMINAL, *arguments]
        self.process = subprocess.Popen(
            command, env=ENVIRONMENT, start_new_session=True, stdin=inside, stdout=inside, stderr=inside
        )
        os.close(inside)

    def read(self, mark=MARK, seconds=60.0):
        """What is shown until the mark, and how long that took."""
        shown, begun = b"", time.perf_counter()
        while not shown.endswith(mark):
            left = seconds - (time.perf_counter() - begun)
            assert left > 0, shown
            if select.select([self.descriptor], [], [], left)[0]:
                try:
                    shown += os.read(self.descriptor, 65_536)
                except OSError:  # closed
                    break
        return shown.decode("utf-8").replace("\r\n", "\n"), time.perf_counter() - begun

    def ask(self, line, seconds=10.0):
        """What is shown below a line that is typed."""
        os.write(self.descriptor, line.encode() + b"\n")
        shown, took = self.read(seconds=seconds)
        return shown.partition("\n")[2].removesuffix("> "), took

    def end(self):
        code = self.process.wait(20)
        os.close(self.descriptor)
        return code


@pytest.fixture
def terminal(trained):
    """The program, ready for its first line."""
    opened = Terminal(str(trained / "runs" / "notebook-comedie-0"), "--interactive", "--length", "100")
    opened.read()
    yield opened
    opened.process.kill()
    opened.process.wait()


@pytest.mark.slow
def test_it_answers_at_once_and_goes_on_after_nonsense(terminal, trained):
    run = jaxrnn.load(trained / "runs" / "notebook-comedie-0")
    first, _ = terminal.ask("COLAS")
    assert first == jaxrnn.generate(run, "COLAS", 100, exact_length=False) + "\n"  # sample 0 of this seed
    took = []
    for prompt in ("NICETTE.", "a" * 100, "", "Ah"):
        answer, seconds = terminal.ask(prompt)
        assert answer.startswith(prompt or ".")
        took.append(seconds)
    assert min(took) < 0.1
    for line, said in (
        (":t x", ":t takes a number, not 'x'"),
        (":t -1", ":t is -1.0; it must be a number from 0 to 1000"),
        (":foo", "no command ':foo'; :help lists them all"),
        ("a€", "character '€' (U+20AC) at position 1"),
        (":t", ":t is 0.7"),
    ):
        shown, _ = terminal.ask(line)
        assert shown.startswith(said)
        assert shown.count("\n") == 1
    assert terminal.ask(":seed 0")[0] == ""
    assert terminal.ask("COLAS")[0] == first
    assert len(terminal.ask(":more")[0]) >= 100
    os.write(terminal.descriptor, b"\x04")
    assert terminal.end() == 0


@pytest.mark.slow
def test_ctrl_c_stops_the_text_and_not_the_program(terminal):
    terminal.ask(":n 100000000")
    os.write(terminal.descriptor, b"COLAS\n")
    time.sleep(0.5)
    os.write(terminal.descriptor, b"\x03")
    shown, _ = terminal.read(b"\n> ")  # what is already being written may come after the ^C
    assert 100 < len(shown) < 10_000_000
    time.sleep(1)  # a signal in the moment before readline waits for a key is noticed only at the next key
    os.write(terminal.descriptor, b"half a line\x03")  # before a line is complete: it is dropped
    terminal.read()
    terminal.ask(":n 30")
    assert 30 <= len(terminal.ask(":more")[0]) <= 62  # from where the text was stopped
    terminal.process.send_signal(signal.SIGTERM)
    assert "stopped" in terminal.read(b"stopped\r\n")[0]
    assert terminal.end() == 128 + signal.SIGTERM


@pytest.mark.slow
def test_a_pipe_gets_the_texts_and_nothing_else(trained):
    run = trained / "runs" / "notebook-comedie-0"
    lines = ":n 20\nCOLAS.\n:foo\n\n\xff\nCOLAS.".encode("latin-1")
    command = [sys.executable, "-m", "jaxrnn.sample", str(run), "--interactive"]
    done = subprocess.run(command, input=lines, env=ENVIRONMENT, capture_output=True, check=True)
    loaded = jaxrnn.load(run)
    assert done.stdout.decode().startswith(jaxrnn.generate(loaded, "COLAS.", 20, exact_length=False) + "\n.")
    assert re.fullmatch(r"no command ':foo'.*\ncharacter '\\udcff' .*\n", done.stderr.decode())


@pytest.fixture
def ask(trained, monkeypatch, capsys):
    """Lines in, what is printed out."""

    def answers(lines, *flags):
        monkeypatch.setattr(sys, "stdin", io.StringIO(lines))
        sample.main([str(trained / "runs" / "notebook-comedie-0"), "--interactive", "--length", "50", *flags])
        return capsys.readouterr()

    return answers


def test_more_continues_the_text_where_it_ended(ask):
    """Greedily, so that no random number matters: the same characters as in one long text."""
    short = ask("COLAS\n:more\n:n 7\n:more\n", "--temperature", "0", "--exact-length").out
    long = ask(":n 107\nCOLAS\n", "--temperature", "0", "--exact-length").out
    pieces = [len("COLAS") + 50, 50, 7]
    begin, joined = 0, ""
    for size in pieces:
        joined += short[begin : begin + size]
        assert short[begin + size] == "\n"
        begin += size + 1
    assert joined + "\n" == long


def test_more_after_a_stop_text_continues_behind_it(ask):
    whole = ask("COLAS\n", "--temperature", "0", "--exact-length").out.removeprefix("COLAS").removesuffix("\n")
    stop = whole[10:12]
    at = whole.index(stop)
    shown = ask(f":stop {stop}\nCOLAS\n:stop\n:n {50 - at - 2}\n:more\n", "--temperature", "0", "--exact-length").out
    assert shown == f"COLAS{whole[:at]}\n{whole[at + 2 :]}\n"


def test_texts_are_the_samples_of_the_seed_in_order(ask):
    first, second = ask("COLAS\nCOLAS\n").out, ask(":seed 0\nCOLAS\n:seed 0\nCOLAS\nCOLAS\n").out
    assert second.startswith(first[: first.index("COLAS", 5)] * 2)
    assert second.endswith(first)


def test_every_command_has_its_line_of_help(ask):
    for name in (*interactive.NUMBERS, "stop", "more", "help", "q"):
        assert len(re.findall(rf"^  :{name}\b", interactive.HELP, re.MULTILINE)) == 1
    out, err = ask(":help\n:more\n:n -1\n:k\n:p 2\n:seed x\n:stop €\n:\n:q\nCOLAS\n")
    assert out == ""
    assert err.startswith(interactive.HELP)
    said = err.removeprefix(interactive.HELP).strip().split("\n")
    expected = ["there is no text", ":n is -1", ":k is 0", ":p is 2.0", ":seed takes a whole", ":stop: char", "no command"]
    assert len(said) == len(expected)
    for line, words in zip(said, expected, strict=True):
        assert line.startswith(words)


def test_a_text_may_begin_with_a_colon_and_hold_line_ends(ask):
    assert ask("::a\\nb\n").out.startswith(":a\nb")


def test_nothing_is_compiled_for_a_prompt(trained, ask):
    """Every program that lines of up to 256 characters need is compiled before the first of them."""
    counts = []

    def count(*_):
        counts.append(sum(of._cache_size() for of in programs()))
        return 0

    def programs():
        run = jaxrnn.load(trained / "runs" / "notebook-comedie-0")
        return [sampling.jit_reading(run.model), *(sampling.jit_writing(run.model, restricted) for restricted in (False, True))]

    interactive_compile = interactive._compile
    interactive._compile = lambda *arguments: count(interactive_compile(*arguments))
    try:
        ask(f"COLAS\n{'a' * 200}\n:k 3\nb\n:more\n:p 0.5\n:more\n:n 200\n:k 0\n:p 1\n\n:more\n")
    finally:
        interactive._compile = interactive_compile
    count()
    assert counts[0] == counts[1] > 0


def test_unknown_characters_can_be_skipped(ask):
    out, err = ask("a€b\n", "--skip-unknown")
    assert out.startswith("ab")
    assert err == ""


def test_it_ends_with_its_input(ask):
    assert ask("").out == ""
