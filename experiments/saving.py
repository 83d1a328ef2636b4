"""What saving costs: the share of a run's time that goes into checkpoints.

    python experiments/saving.py

Takes four minutes; downloads 1.7 MB once. Expected: under 3 % of the wall time, with epochs of a quarter of a second (which
are not all saved), with epochs of several seconds, and with checkpoints every five seconds.
"""

import time
from collections.abc import Callable

from claims import expect, run

from jaxrnn.storage import checkpoint

RUNS = {
    "short epochs": ("--epochs", "200"),
    "long epochs": ("--text", "moliere", "--max-characters", "0", "--epochs", "6"),
    "saved every 5 s": ("--text", "moliere", "--max-characters", "0", "--epochs", "6", "--save-every-seconds", "5"),
}


def main() -> None:
    print("| run | seconds | checkpoints | saving, seconds | part of the time |\n|---|---|---|---|---|")
    save = checkpoint.save_checkpoint
    for name, flags in RUNS.items():
        durations: list[float] = []
        checkpoint.save_checkpoint = timed(save, durations)
        started = time.perf_counter()
        run(*flags)
        seconds = time.perf_counter() - started
        part = sum(durations) / seconds
        print(f"| {name} | {seconds:.0f} | {len(durations)} | {sum(durations):.2f} | {part:.1%} |")
        expect(f"the part of the time for {name}", part, 0, 0.03)


def timed(save: Callable, durations: list[float]) -> Callable:
    """Wrap a function so that it notes how long each call takes."""

    def timed_save(*arguments: object) -> None:
        started = time.perf_counter()
        save(*arguments)
        durations.append(time.perf_counter() - started)

    return timed_save


if __name__ == "__main__":
    main()
