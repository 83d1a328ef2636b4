"""How programs start and end: by a common name or their own, at signals, and quickly."""

import os
import re
import subprocess
import sys

import pytest

import jaxrnn
from jaxrnn import __main__ as programs
from jaxrnn import evaluate, export, inspect, page, sample, score, train
from jaxrnn.runtime import signals

MAINS = {
    "train": train,
    "sample": sample,
    "evaluate": evaluate,
    "score": score,
    "export": export,
    "page": page,
    "inspect": inspect,
}


def ended(main, *arguments):
    """The exit code of a program."""
    with pytest.raises(SystemExit) as exit_:
        main(list(arguments))
    return exit_.value.code


def python(*arguments, **how):
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=60, **how)


@pytest.mark.parametrize("name", MAINS)
def test_every_program_prints_the_version(capsys, name):
    assert ended(MAINS[name].main, "--version") == 0
    assert ended(programs.main, name, "--version") == 0
    assert capsys.readouterr() == (f"jaxrnn {jaxrnn.__version__}\n" * 2, "")


def test_the_version_of_the_package_is_known_before_jax_is_imported():
    program = "import sys; from jaxrnn import __main__ as programs; programs.main(['--version']); print('jax' in sys.modules)"
    assert python("-c", program).stdout == f"jaxrnn {jaxrnn.__version__}\nFalse\n"
    result = python("-m", "jaxrnn", "--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"jaxrnn {jaxrnn.__version__}\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"]])
def test_the_package_lists_its_programs(capsys, arguments):
    programs.main(arguments)
    out, err = capsys.readouterr()
    assert re.findall(r"^  (\w+) ", out, re.MULTILINE) == list(MAINS)
    assert err == ""


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("smaple", "no program 'smaple'; did you mean sample?"),
        ("x", "no program 'x'; choose one of train, sample, evaluate, score, export, page, inspect"),
        ("--hidden-size", "no program '--hidden-size'; choose"),
        ("", "no program ''; choose"),
    ],
)
def test_an_unknown_program_is_an_error_of_one_line(capsys, word, said):
    assert ended(programs.main, word) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"error: {said}")
    assert err.count("\n") == 1


def test_a_program_by_the_common_name_is_the_same_program(trained, monkeypatch, capsys):
    run_dir = str(trained / "runs" / "notebook-comedie-0")
    programs.main(["inspect", run_dir])
    by_common_name = capsys.readouterr()
    inspect.main([run_dir])
    assert capsys.readouterr() == by_common_name
    assert ended(programs.main, "sample", "none") == 2
    assert "no run in 'none'" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["jaxrnn", "inspect", "none"])
    with pytest.raises(SystemExit, match="2"):
        programs.main()


def test_the_library_gives_what_it_lists_and_nothing_else():
    assert all(getattr(jaxrnn, name) is not None for name in jaxrnn.__all__)
    assert set(jaxrnn.__all__) <= set(dir(jaxrnn))
    assert jaxrnn.models.network.elman is jaxrnn.elman
    with pytest.raises(AttributeError, match="module 'jaxrnn' has no attribute 'nothing'"):
        jaxrnn.nothing  # noqa: B018


# The first waits for Python's own code; the second, like XLA's compiler, lets no Python code run in its thread.
WAITS = ["import time; time.sleep(60)", "import hashlib; hashlib.pbkdf2_hmac('sha256', b'', b'', 10**9)"]


@pytest.mark.parametrize("waiting", WAITS)
@pytest.mark.parametrize("number", signals.SIGNALS)
def test_a_signal_ends_a_program_in_one_line_whatever_it_is_doing(tmp_path, number, waiting):
    program = (
        "from jaxrnn.data import temporary; from jaxrnn.runtime import signals as stop; "
        "stop.end_at_signals(); inside = temporary.folder(); inside.__enter__();"
        f"import os; print('unflushed', end=''); os.write(2, b'begun'); {waiting}"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], text=True, env={**os.environ, "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    assert process.stderr.read(5) == "begun"
    assert len(list(tmp_path.iterdir())) == 1
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("unflushed", "stopped\n")
    assert process.returncode == 128 + number
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [pytest.param(name, marks=[] if name == "sample" else pytest.mark.slow) for name in MAINS])
def test_a_signal_during_the_imports_ends_a_program_in_one_line(name):
    """The module that JAX imports first stands for all of them: there the signal comes."""
    program = (
        "import os, runpy, sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, *more):\n"
        "        if name == 'jax': os.kill(os.getpid(), 2)\n"
        f"sys.meta_path.insert(0, Finder()); sys.argv[1:] = ['none']; runpy.run_module('jaxrnn.{name}', run_name='__main__')"
    )
    result = python("-c", program)
    assert (result.returncode, result.stdout, result.stderr) == (130, "", "stopped\n")


def test_a_signal_that_comes_when_a_program_is_done_changes_nothing():
    program = (
        "import atexit, os; atexit.register(lambda: os.kill(os.getpid(), 2)); from jaxrnn.runtime import signals as stop; "
        "stop.end_at_signals(); print('done')"
    )
    result = python("-c", program)
    assert (result.returncode, result.stdout, result.stderr) == (0, "done\n", "")


def test_ending_a_program_imports_nothing_because_it_may_be_importing_itself():
    program = (
        "import os, sys; from jaxrnn.runtime import signals as stop; "
        "os._exit = lambda code: None; before = set(sys.modules); stop._end(2); "
        "sys.exit(0 if set(sys.modules) == before else 9)"
    )
    assert python("-c", program).returncode == 0


WINDOWS = """
import sys, signal, os
import filelock  # while this is another system, it needs what this one has
del signal.SIGHUP, os.set_blocking, os.sched_getaffinity, os.posix_fallocate
class Blocked:
    def find_spec(self, name, *more):
        if name in ("fcntl", "resource", "pwd", "grp", "termios"):
            raise ImportError(name)
sys.meta_path.insert(0, Blocked())
for name in ("resource", "pwd", "grp", "termios"):
    sys.modules.pop(name, None)
from jaxrnn import __main__ as programs
from jaxrnn import train, sample, evaluate, score, export, page, inspect
from jaxrnn.runtime import devices
from jaxrnn.runtime import signals as stop
from jaxrnn.storage import quiet, store
from jaxrnn.storage import run_folder as folder
from pathlib import Path
assert stop.SIGNALS == (signal.SIGINT, signal.SIGTERM)
assert devices.count_cores() >= 1
filelock.lock_descriptor = lambda fd, blocking: True
filelock.unlock_descriptor = lambda fd: None
with stop.catch_signals() as received, folder.hold_lock(Path(sys.argv[1])):
    quiet.check_disk_space(Path(sys.argv[1]), 1000)
    print("good", received())
"""


def test_nothing_needs_what_windows_does_not_have(tmp_path):
    result = python("-c", WINDOWS, str(tmp_path))
    assert (result.stdout, result.stderr) == ("good 0\n", "")
