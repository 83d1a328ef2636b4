"""Run all experiments on online rules and the 2010 paper, and write their tables, JSON results and pictures.

    python -m experiments.all

Takes about 15 minutes on two cores: all but the last run two at a time, each on a core of its own. Each checks its own numbers;
a table at the end says which ones came out as their headers say.
"""

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

# `rules_on_text` learns against the clock; on a core of its own beside another script it reads as much as alone on two.
TOGETHER = ("rules_on_text", "online_rules", "paper", "beyond_text", "vanishing_gradient", "stacked", "dynamic_rates",
            "influence_balancing")  # fmt: skip
ALONE = ("cost_of_rules",)  # uses all cores


class Outcome(NamedTuple):
    """The outcome of one script."""

    name: str
    good: bool
    seconds: float


def main() -> None:
    """Run every experiment; exit with code 1 if a number is out of its range."""
    with ThreadPoolExecutor(2, initializer=pin, initargs=(cores(),)) as pool:
        outcomes = [*pool.map(outcome_of, TOGETHER)]
    outcomes += [outcome_of(name) for name in ALONE]
    print("\n| experiment | as expected | seconds |\n|---|---|---|")
    for name, good, seconds in outcomes:
        print(f"| {name} | {'yes' if good else 'NO'} | {seconds:.0f} |")
    raise SystemExit(0 if all(outcome.good for outcome in outcomes) else 1)


def cores() -> list[int]:
    """List the cores that this process may use; empty where the system does not say."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def pin(free: list[int]) -> None:
    """Pin this thread and the scripts that it starts to one core: two scripts that share two cores take half as long again."""
    if free:
        os.sched_setaffinity(0, {free.pop()})


def outcome_of(name: str) -> Outcome:
    """Run a script, then print its output."""
    started = time.perf_counter()
    script = Path(__file__).with_name(f"{name}.py")
    result = subprocess.run([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(f"\n== {name} ==\n{result.stdout}", flush=True)
    return Outcome(name, result.returncode == 0, time.perf_counter() - started)


if __name__ == "__main__":
    main()
