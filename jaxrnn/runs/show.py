"""Show the events of a run on a screen."""

import contextlib
from collections.abc import Iterator

from rich.console import Console

from jaxrnn.console import report
from jaxrnn.runs.events import (
    Busy,
    EpochRead,
    Event,
    Finished,
    Learning,
    Note,
    PassedOver,
    Progressed,
    Tested,
    Testing,
    TooShort,
)
from jaxrnn.runs.task import Task, characters_per_epoch, num_epochs


def show(screen: Console, task: Task, events: Iterator[Event]) -> None:
    """Show the events of a run as they happen; errors of the run propagate."""
    report.show_header(screen, validated=task.data.validation.size > 0, clipped=task.config.learning.clip_norm > 0)
    with contextlib.ExitStack() as running:  # a status, or the bar
        move_bar, move_test = None, None
        for event in events:
            if not isinstance(event, Progressed | EpochRead | Note | PassedOver | Testing):
                running.close()
                move_test = None
            if isinstance(event, Busy):
                running.enter_context(report.show_status(screen, event.word))
            elif isinstance(event, Learning):
                bar = report.progress_bar(screen, characters_per_epoch(task), num_epochs(task.config))
                move_bar = running.enter_context(bar)
            elif isinstance(event, Progressed) and move_bar:
                move_bar(*event)
            elif isinstance(event, Testing):
                if move_test is None:
                    running.close()
                    move_test = running.enter_context(report.testing_bar(screen))
                move_test(*event)
            else:
                _show_result(screen, event)


def _show_result(screen: Console, event: Event) -> None:
    if isinstance(event, EpochRead):
        report.show_epoch(screen, event.row, event.sample)
    elif isinstance(event, Note):
        screen.print(event.line)
    elif isinstance(event, PassedOver):
        report.warn_of_rejected(event.rejected)
    elif isinstance(event, Tested):
        report.show_numbers(screen, event.numbers, event.parts)
        report.show_verdicts(screen, event.verdicts)
    elif isinstance(event, TooShort):
        screen.print()
        report.show_verdicts(screen, [event.line])
    elif isinstance(event, Finished):
        report.show_facts(screen, event.facts)
