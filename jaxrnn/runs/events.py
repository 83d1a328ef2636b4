"""What happens in a run, as data: the loop yields it, and a screen shows it."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from jaxrnn.storage.store import Rejected
from jaxrnn.training.progress import Epoch, FourNumbers


class Busy(NamedTuple):
    """Something begins that takes a while."""

    word: str


class Learning(NamedTuple):
    """Reading begins; `Progressed` follows twice a second."""


class Progressed(NamedTuple):
    """A part of an epoch was read."""

    epoch: int  # from 0
    characters: int  # read in it so far
    online_nats: float  # mean of the losses of these characters
    characters_per_second: float


class EpochRead(NamedTuple):
    """An epoch is over."""

    row: Epoch
    sample: str  # what the model then writes


class Note(NamedTuple):
    """A line for the user: a plan, a return to a checkpoint, a disk that is full."""

    line: str


class PassedOver(NamedTuple):
    """Damaged checkpoints, instead of which an older one was read."""

    rejected: tuple[Rejected, ...]


class Tested(NamedTuple):
    """The four numbers, and what they say should be changed."""

    numbers: FourNumbers
    verdicts: list[str]


class Finished(NamedTuple):
    """All is written; how the run was tested, what it left and what can be done next."""

    facts: Mapping[str, str]


Event: TypeAlias = Busy | Learning | Progressed | EpochRead | Note | PassedOver | Tested | Finished
