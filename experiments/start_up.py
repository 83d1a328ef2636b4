"""How long a run takes to start, to learn and to end: fresh processes, from the command to each of its phases.

    python experiments/start_up.py

Takes nine minutes. Each command runs ten times with the compiled programs of an earlier process, and ten times without, and the
table has the medians. `gru` reads the comedy once and is tested on one character. Writes results/start_up.json, and
results/start_up.md for docs/reference/performance.md.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

RESULTS, REPEATS = Path(__file__).with_name("results"), 10
COMMANDS = {"the course": [], "gru": ["gru", "--text", "comedie", "--epochs", "1", "--test-characters", "1"]}
PHASES = {
    "imported": "Python and jaxrnn are imported",
    "prepared": "text, network and first weights are there",
    "compiled": "the training loop is compiled",
    "learned": "the first characters are learned",
    "read": "the last epoch is read",
    "tested": "the final numbers are shown",
    "finished": "the picture is drawn",
    "ended": "the process has ended",
}


def main() -> None:
    """Measure all commands, cold and warm, and write the table."""
    found = {}
    for name, flags in COMMANDS.items():
        with tempfile.TemporaryDirectory() as kept:
            time_phases(flags, kept)  # fills the cache, and lets matplotlib find its fonts
            found[f"{name}, compiled before"] = median([time_phases(flags, kept) for _ in range(REPEATS)])
        found[f"{name}, not compiled before"] = median([time_phases(flags) for _ in range(REPEATS)])
    rows = [[said, *(f"{found[name][phase]:.2f}" for name in found)] for phase, said in PHASES.items()]
    head = [["seconds after the command", *found], ["---"] * (1 + len(found))]
    table = "\n".join(f"| {' | '.join(row)} |" for row in [*head, *rows]) + "\n"
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "start_up.json").write_text(json.dumps(found, indent=1) + "\n")
    (RESULTS / "start_up.md").write_text(table, "utf-8")
    print(table)


def time_phases(flags: list[str], kept: str = "") -> dict[str, float]:
    """Run a command in a fresh process. Returns the seconds until the end of each phase.

    Args:
      kept: the folder that keeps compiled programs; "" = a new one.
    """
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "XDG_CACHE_HOME": kept or folder}
        environment.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / "start_up_fonts"))
        started = time.time()
        command = [sys.executable, str(Path(__file__).resolve()), "phases", *flags]
        done = subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True, text=True)
        ended = time.time() - started
    marks = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    return {**{name: at - started for name, at in marks.items()}, "ended": ended}


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    """Take the median of each phase."""
    return {name: statistics.median(run[name] for run in runs) for name in PHASES}


def run_and_mark(flags: list[str]) -> None:
    """Do what `python -m jaxrnn.train` does, and print when each phase ended."""
    import jaxrnn.train  # noqa: F401 (so that its import is measured)
    from jaxrnn.__main__ import run_program
    from jaxrnn.runs import session
    from jaxrnn.runs.events import Busy, Finished, Learning, Progressed, Tested

    marks, run = {"imported": time.time()}, session.run

    def marking(*arguments):
        marks["prepared"] = time.time()
        for event in run(*arguments):
            if isinstance(event, Learning):
                marks["compiled"] = time.time()
            elif isinstance(event, Progressed):
                marks.setdefault("learned", time.time())
            elif event == Busy("testing"):
                marks["read"] = time.time()
            yield event
            if isinstance(event, Tested | Finished):  # once it is shown
                marks["tested" if isinstance(event, Tested) else "finished"] = time.time()
        print(json.dumps(marks))

    session.run = marking
    sys.argv[1:] = flags
    run_program("train")


if __name__ == "__main__":
    run_and_mark(sys.argv[2:]) if sys.argv[1:2] == ["phases"] else main()
