"""Events of a run as data: the loop yields them, and a screen shows them."""

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

from jaxrnn.storage.store import Rejected
from jaxrnn.training.progress import Epoch, FinalNumbers


class Busy(NamedTuple):
    """The run starts something that takes a while."""

    word: str


class Learning(NamedTuple):
    """Training starts; `Progressed` follows twice a second."""


class Progressed(NamedTuple):
    """The run has read part of an epoch."""

    epoch: int  # from 0
    characters: int  # read in this epoch so far
    online_nats: float  # mean loss of these characters
    characters_per_second: float
    share: float | None = None  # of the run read so far; None if its length is not known
    seconds_left: float | None = None  # of training


class EpochRead(NamedTuple):
    """The run has read an epoch."""

    row: Epoch
    sample: str  # what the model writes at this point


class Note(NamedTuple):
    """A line for the user: a plan, a rollback, a full disk."""

    line: str


class PassedOver(NamedTuple):
    """Damaged checkpoints were skipped for an older one."""

    rejected: tuple[Rejected, ...]


class Testing(NamedTuple):
    """The test has read some of a part of the text."""

    part: str
    characters: int  # read so far
    of: int  # characters to read, at most; 0 = unknown


class Tested(NamedTuple):
    """The run was tested: its final numbers, and advice on what to change."""

    numbers: FinalNumbers
    parts: Mapping[str, str]  # which characters a number covers, by its name, if not all
    verdicts: list[str]


class TooShort(NamedTuple):
    """The run ended before the network had learned anything, and was not tested."""

    line: str


class Finished(NamedTuple):
    """Everything is written. The facts say how the run was tested, what it left, and what to do next."""

    facts: Mapping[str, str]


Event: TypeAlias = Busy | Learning | Progressed | EpochRead | Note | PassedOver | Testing | Tested | TooShort | Finished
