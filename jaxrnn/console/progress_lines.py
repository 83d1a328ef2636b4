"""Progress in lines of text, for a log, a pipe or a notebook's cell: often enough to see that a run continues."""

import time
from collections.abc import Callable

from rich.console import Console

# A line after 30 seconds or a twentieth of the run, whichever comes first; but not so many in a run of a few seconds. A row of
# the table of epochs counts as a line.
SECONDS_PER_LINE, SHARE_PER_LINE, LEAST_SECONDS = 30.0, 0.05, 5.0


def is_due(seconds: float, share: float) -> bool:
    """Return whether it is time for a line, by the seconds since the last one and the share of the run read since then."""
    return seconds >= SECONDS_PER_LINE or (share >= SHARE_PER_LINE and seconds >= LEAST_SECONDS)


def print_progress(
    screen: Console, num_characters: int, num_epochs: int | None, clock: Callable[[], float] = time.monotonic
) -> Callable[..., None]:
    """Make a function that prints a line of progress when it is due; it takes the position, as `describe_progress` does.

    Args:
      num_characters: read in an epoch; at its end there is a row of the table.
    """
    last_time, last_share = clock(), 0.0

    def show(
        epoch: int, num_read: int, nats: float, speed: float, share: float | None = None, seconds_left: float | None = None
    ) -> None:
        nonlocal last_time, last_share
        now, reached = clock(), last_share if share is None else share
        if num_read < num_characters:
            if not is_due(now - last_time, reached - last_share):
                return
            screen.print(describe_progress(num_epochs, epoch, num_read, nats, speed, share, seconds_left))
        last_time, last_share = now, reached

    return show


def print_testing(screen: Console, clock: Callable[[], float] = time.monotonic) -> Callable[[str, int, int], None]:
    """Make a function that prints what is being tested, every 30 seconds; its arguments are those of `describe_test`."""
    last_time = clock()

    def show(part: str, num_read: int, of: int) -> None:
        nonlocal last_time
        if is_due(clock() - last_time, 0.0):
            last_time = clock()
            screen.print(describe_test(part, num_read, of))

    return show


def describe_progress(
    num_epochs: int | None,
    epoch: int,
    num_read: int,
    nats: float,
    speed: float,
    share: float | None = None,
    seconds_left: float | None = None,
) -> str:
    """Describe in one line how far a run has come: `epoch 3 of 10, 24 %  2.103 nats  183,262 characters/s  0:25 left`.

    Args:
      share: of the whole run; None = not known, then the characters of the epoch are shown.
    """
    of_all = "" if num_epochs is None else f" of {num_epochs}"
    place = f"{num_read:,} characters" if share is None else f"{share:.0%}".replace("%", " %")
    left = "" if seconds_left is None else f"  {spell_time(seconds_left)} left"
    return f"epoch {epoch + 1}{of_all}, {place}  {nats:.3f} nats  {speed:,.0f} characters/s{left}"


def describe_test(part: str, num_read: int, of: int) -> str:
    """Describe in one line how far a test has come."""
    return f"testing: {part}, {num_read:,} of {of:,} characters" if of else f"testing: {part}"


def spell_time(seconds: float) -> str:
    """Format a time as minutes and seconds, with hours if there are any: `0:07`, `1:02:03`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
