"""All experiments on online rules and the 2010 paper, one after the other: their tables, JSON results and pictures.

    python -m experiments.all

Takes 15 minutes on two cores. Each checks its own numbers; at the end stands which ones came out as their headers say.
"""

import subprocess
import sys
import time
from pathlib import Path

SCRIPTS = (
    "online_rules",
    "influence_balancing",
    "vanishing_gradient",
    "dynamic_rates",
    "rules_on_text",
    "paper",
    "cost_of_rules",
)


def main() -> None:
    """Runs them; exit code 1 if a number is not where it should be."""
    outcomes = {}
    for name in SCRIPTS:
        print(f"\n== {name} ==", flush=True)
        started = time.perf_counter()
        result = subprocess.run([sys.executable, Path(__file__).with_name(f"{name}.py")], check=False)
        outcomes[name] = (result.returncode == 0, time.perf_counter() - started)
    print("\n| experiment | as expected | seconds |\n|---|---|---|")
    for name, (good, seconds) in outcomes.items():
        print(f"| {name} | {'yes' if good else 'NO'} | {seconds:.0f} |")
    raise SystemExit(0 if all(good for good, _ in outcomes.values()) else 1)


if __name__ == "__main__":
    main()
