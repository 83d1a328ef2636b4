"""Count the text before the held-out part for the final test, if possible while the network still learns on another core."""

import contextlib
import functools
import sys
import threading
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np

from jaxrnn.config import build, parts
from jaxrnn.config.build import Data
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.data.array_types import Params
from jaxrnn.data.splitting import Parts, before_heldout
from jaxrnn.models.counts import CountModel
from jaxrnn.models.model import Model
from jaxrnn.models.scalar_loops import on_host
from jaxrnn.runs.limits import MIX_SHARE, Extent, TestLimits, known_limits, plan_extent
from jaxrnn.runs.task import Task
from jaxrnn.runtime import devices
from jaxrnn.scoring import counting, together
from jaxrnn.scoring.counting import Before
from jaxrnn.scoring.evaluation import DynamicSettings
from jaxrnn.scoring.together import Reader

SECONDS_PER_TURN = 5e-4  # a tenth of Python's: the course has read its ten epochs half a second sooner
NODES_OF_LONG = 1.5  # for each character that is counted beyond the first 100,000: enough for novels, plays and code


class Counted(NamedTuple):
    """What a test knows before it reads the held-out part."""

    counts: tuple[CountModel, ...]
    before: Before
    num_characters: int  # counted
    reader: Reader | None  # compiled; None if its settings depend on what the network has learned


class Ahead(NamedTuple):
    """A text that is being counted in another thread."""

    extent: Extent
    counted: Future[Counted]


BeginCounting: TypeAlias = Callable[[], Ahead | None]  # begins at the first call; None if there is no thread


class Cancelled(Exception):
    """The run ended before the text was counted."""


def count_before_heldout(config: Config, data: Data, model: Model, limits: TestLimits, ahead: Ahead | None) -> Counted:
    """Count the text before the held-out part, or wait for the thread that has begun to.

    What failed in the thread is tried again here, now that there is more memory.
    """
    if ahead is not None and ahead.extent == plan_extent(data, limits):
        error = ahead.counted.exception()
        if error is None:
            return ahead.counted.result()
        error.__traceback__ = None  # it holds the arrays of the attempt
    with on_host():
        return counting.run_to_end(_count(config, data, model, limits))


@contextlib.contextmanager
def counting_ahead(task: Task, params: Params) -> Iterator[BeginCounting]:
    """Yield a function that starts to count in another thread, if a core is free and the settings say how much to count.

    The thread also compiles what reads the held-out part, unless its settings are chosen later. When the context ends, so does
    the thread, within a second or after the program that it is compiling.

    Args:
      params: any weights of the network.
    """
    limits = known_limits(task)
    if limits is None or not task.data.heldout.size or not devices.has_free_core(task.config):
        yield lambda: None
        return
    cancelled = threading.Event()

    def read() -> Counted:
        with on_host():
            reading = _count(task.config, task.data, task.model, limits)
            counted = _run_until(cancelled, reading)
        how = fixed_dynamic(task.config)
        if how is None or cancelled.is_set():
            return counted
        reader = make_reader(task.model, how, counted.counts)
        next(together.read_on(reader, params, None, np.zeros(2, np.int32), build.make_keys(0).evaluation))
        return counted._replace(reader=reader)

    with _taking_turns_often(), ThreadPoolExecutor(1) as thread:
        try:
            yield functools.cache(lambda: Ahead(plan_extent(task.data, limits), thread.submit(read)))
        finally:
            cancelled.set()


@contextlib.contextmanager
def _taking_turns_often() -> Iterator[None]:
    """Let threads take turns more often inside this context: each call of JAX from the one that learns waits for its turn."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(SECONDS_PER_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


def fixed_dynamic(config: Config) -> DynamicSettings | None:
    """Return the settings of dynamic evaluation; None if they are to be chosen."""
    settings = config.evaluation
    if settings.dynamic == AUTO:
        return None
    return DynamicSettings(settings.dynamic_optimizer, (settings.dynamic_rate,), settings.dynamic_length)


def make_reader(model: Model, how: DynamicSettings, counts: tuple[CountModel, ...]) -> Reader:
    """Make the reader of the held-out part."""
    return together.make_reader(model, how, counts, parts.find_optimizer(how.optimizer))


def _count(config: Config, data: Data, model: Model, limits: TestLimits) -> Generator[None, None, Counted]:
    extent = plan_extent(data, limits)
    ids = before_heldout(Parts(data.train, data.validation, data.heldout), data.pieces, extent.counted)
    counts = counting.make_counts(data.vocabulary.characters, len(ids) + extent.heldout, NODES_OF_LONG)
    seconds = MIX_SHARE * limits.seconds
    before = yield from counting.read_before_in_pieces(model, counts, ids, extent.mixed, seconds)
    return Counted(counts, before, len(ids), None)


def _run_until(cancelled: threading.Event, reading: Generator[None, None, Counted]) -> Counted:
    """Read to the end, or raise `Cancelled` after the piece during which the event is set."""
    while not cancelled.is_set():
        try:
            next(reading)
        except StopIteration as end:
            return end.value
    raise Cancelled
