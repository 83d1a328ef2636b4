"""Start a program by name: `python -m jaxrnn PROGRAM`, or `jaxrnn PROGRAM`.

Nothing heavy is imported here, so that `--version` is quick and Ctrl-C during a program's imports ends it in one line.
"""

import sys

# If a program is run as a script (`python jaxrnn/train.py`), its folder comes first on the path and hides Python's `inspect`.
sys.path[:] = [entry for entry in sys.path if entry != __file__.rpartition("__main__")[0].rstrip("/\\")]

import importlib

from jaxrnn import __version__
from jaxrnn.console import starting
from jaxrnn.runtime import signals

TYPE_CHECKING = False  # like `typing.TYPE_CHECKING`; importing `typing` takes a while
if TYPE_CHECKING:
    from typing import Any, NoReturn

PROGRAMS = {
    "train": "train a model on a text, or resume a run",
    "sample": "draw text from a model",
    "evaluate": "measure how well a model predicts a text",
    "score": "score each line of a text, or of a stream, by how odd it is",
    "export": "write the weights as a safetensors file",
    "page": "make a web page in which a network reads, writes and learns",
    "inspect": "list a run's settings and verify its checkpoints",
}


def main(arguments: list[str] | None = None) -> None:
    """Run the program that the first argument names."""
    from jaxrnn.console import terminal

    name, *flags = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if name in PROGRAMS:
        program = _load_program(name)
        starting.clear_word()
        program.main(flags)
        return
    starting.clear_word()
    with terminal.protect_streams(), terminal.exit_on_write_error():
        if name == "--version":
            print(f"jaxrnn {__version__}")
        elif name in ("--help", "-h"):
            print(overview())
        else:
            import difflib

            similar = difflib.get_close_matches(name, PROGRAMS, 1)
            meant = f"did you mean {similar[0]}?" if similar else f"choose one of {', '.join(PROGRAMS)}"
            terminal.print_to_stderr(f"error: no program {name!r}; {meant}")
            raise SystemExit(2)


def _load_program(name: str) -> "Any":
    """Import a program; if memory, threads or a JAX variable prevent that, say so in one line."""
    try:
        return importlib.import_module(f"jaxrnn.{name}")
    except (ImportError, MemoryError, OSError, RuntimeError, ValueError) as error:
        from jaxrnn.console import terminal

        starting.clear_word()
        reason = "not enough memory" if isinstance(error, MemoryError) else str(error).partition("\n")[0][:200]
        terminal.print_to_stderr(f"error: {name} cannot start here: {reason or type(error).__name__}")
        raise SystemExit(2) from None


def overview() -> str:
    """List the programs, one per line."""
    lines = [f"  {name.ljust(10)}{what}" for name, what in PROGRAMS.items()]
    usage = ["usage: python -m jaxrnn PROGRAM [--flags]", "", *lines, ""]
    return "\n".join([*usage, "PROGRAM --help lists its flags; --version prints the version."])


def run_program(*leading: str) -> "NoReturn":
    """Run the program that the command line names, as the main program of this process."""
    signals.end_at_signals_while_starting()
    starting.show_word()
    from jaxrnn.console import terminal
    from jaxrnn.runtime import memory

    memory.use_few_heaps()

    terminal.reopen_closed_streams()
    signals.end_at_signals()
    main([*leading, *sys.argv[1:]])
    _end_process()


def _end_process() -> "NoReturn":
    """End a process that is done without Python's own shutdown, which takes a third of a second after JAX has computed."""
    import atexit
    import os
    import threading

    others = [thread for thread in threading.enumerate() if not thread.daemon and thread is not threading.main_thread()]
    if others or sys.flags.interactive or sys.getprofile() or sys.gettrace():  # there is something left to do
        raise SystemExit(0)
    atexit._run_exitfuncs()
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (AttributeError, OSError, ValueError):  # closed, missing, full: Python's shutdown knows what to do
        raise SystemExit(0) from None
    os._exit(0)


if __name__ == "__main__":
    run_program()
