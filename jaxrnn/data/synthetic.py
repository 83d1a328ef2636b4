"""Synthetic sources whose lowest possible loss is known: grammars, a noisy copy, a delayed sum, a hidden Markov model.

Each is a `Source` of `automaton.py`, which samples its text and computes its losses.
"""

from collections.abc import Callable
from itertools import pairwise, product
from string import ascii_lowercase
from typing import Any, NamedTuple

import numpy as np

from jaxrnn.data.automaton import Production, Source, entropy, make_source, write_text
from jaxrnn.errors import InputError, check_known, check_whole, is_number

MAX_STATES = 2**16  # of a source
# The graph of Reber's grammar: for each state, its possible characters and the state after each.
REBER = {"0": "B1", "1": "T2 P3", "2": "S2 X4", "3": "T3 V5", "4": "X3 S6", "5": "P4 V6", "6": "E0"}


class AddFloors(NamedTuple):
    """Lowest loss on the target bit of `delayed_sum`, in nats, for a predictor that knows neither, one or both lags."""

    neither: float
    second: float
    first: float
    both: float


def generate_text(name: str, num_characters: int, seed: int) -> str:
    """Sample a text from a source by name; `InputError` if there is no such source."""
    return write_text(named_source(name), num_characters, seed)


def named_source(name: str) -> Source:
    """Make a source by name with default parameters; `InputError` if there is no such source."""
    check_known("synthetic source", name, SOURCES)
    return SOURCES[name]()


def reber() -> Source:
    """Make a source of concatenated Reber strings: 6 bits in 8 characters on average.

    Source: Reber (1967), J. Verbal Learning and Verbal Behavior 6(6); the graph as in Cleeremans et al. (1989).
    """
    return make_source({"0": 1.0}, {state: _fair(*arrows.split()) for state, arrows in REBER.items()})


def embedded_reber(remembers: bool = True) -> Source:
    """Make a source of strings B T r T E or B P r P E, r a Reber string: 7 bits in 12 characters on average.

    Args:
      remembers: False makes the source as it looks to the best predictor that forgets the first T or P: the second one is a
        fair coin, which costs 8 bits for 12 characters.
    Source: Hochreiter & Schmidhuber (1997), Neural Computation 9(8).
    """
    rules = {
        "begin": [Production(1.0, "B", ("outer",))],
        "outer": _fair("TT0", "PP0"),
        "end": [Production(1.0, "E", ("begin",))],
    }
    for outer in "TP":
        rules |= {
            outer + state: _fair(*(arrow[0] + outer + arrow[1] for arrow in arrows.split())) for state, arrows in REBER.items()
        }
        rules[f"{outer}6"] = _fair(f"E{outer}7")
        rules[f"{outer}7"] = _fair(f"{outer}end") if remembers else _fair("Tend", "Pend")
    return make_source({"begin": 1.0}, rules)


def delayed_sum(first_lag: int = 5, second_lag: int = 9) -> Source:
    """Make a source of the letters a to d, each of which encodes a fair input bit x and a target bit y as 2 x + y.

    y[t + 1] is 1 with probability 1/2 + x[t - first_lag] / 2 - x[t - second_lag] / 4; the entropy rate is ln 2 +
    `add_floors().both`. A state holds all inputs that are still needed, newest last; inputs before the text are fair bits.

    Source: Pitis (2016), "Recurrent neural networks in Tensorflow I" (other lags); Marschall, Cho & Savin (2020), JMLR 21.
    """
    check_whole(0, first_lag=first_lag, second_lag=second_lag)
    if first_lag == second_lag:
        raise InputError(f"both lags of a delayed sum are {first_lag}; they must differ")
    states = _all_strings("01", 1 + max(first_lag, second_lag))
    rules = {state: [] for state in states}
    for state, x, y in product(states, (0, 1), (0, 1)):
        p = _target_probability(int(state[-1 - first_lag]), int(state[-1 - second_lag]))
        rules[state].append(Production((p if y else 1 - p) / 2, "abcd"[2 * x + y], (f"{state[1:]}{x}",)))
    return make_source(dict.fromkeys(states, 1 / len(states)), rules)


def add_floors() -> AddFloors:
    """Compute the lowest losses on the target bit of `delayed_sum`, without the ln 2 of the input bit."""
    p = np.array([[_target_probability(first, second) for second in (0, 1)] for first in (0, 1)])
    return AddFloors(*(_binary_entropy(known) for known in (p.mean(keepdims=True), p.mean(0), p.mean(1), p)))


def noisy_copy(lag: int = 6, num_letters: int = 4, noise: float = 0.25) -> Source:
    """Make a source that repeats the letter `lag` characters back; with probability `noise` it draws any letter instead.

    Any `lag` consecutive letters are independent, so a predictor that remembers fewer than `lag` letters pays ln(num_letters).
    """
    check_whole(1, lag=lag, num_letters=num_letters)
    _check_numbers(noise=noise)
    if num_letters > len(ascii_lowercase):
        raise InputError(f"num_letters is {num_letters}; it must be at most {len(ascii_lowercase)}")
    letters, copied = ascii_lowercase[:num_letters], 1 - noise
    states = _all_strings(letters, lag)
    rules = {
        state: [Production(noise / num_letters + copied * (c == state[0]), c, (state[1:] + c,)) for c in letters]
        for state in states
    }
    return make_source(dict.fromkeys(states, 1 / len(states)), rules)


def anbn(longest: int = 32, num_newlines: int = 1) -> Source:
    """Make a source of strings a^n b^n, n uniform in 1 .. longest, then newlines.

    Each string has ln(longest) nats in longest + 1 + num_newlines characters on average.

    Source: Tallec & Ollivier (2017), "Unbiased online recurrent optimization".
    """
    check_whole(1, longest=longest)
    end, rules = _newlines(num_newlines, "0 a")
    rules["0 a"] = [Production(1.0, "a", ("1 a",))]
    for n in range(1, longest + 1):  # "n a": n letters a were written; "n b": n letters b are to be written
        last, after_b = 1 / (longest - n + 1), f"{n - 1} b" if n > 1 else end  # P(no further a | n of them)
        rules[f"{n} a"] = [Production(last, "b", (after_b,)), Production(1 - last, "a", (f"{n + 1} a",))]
        rules[f"{n} b"] = [Production(1.0, "b", (after_b,))]
    return make_source({"0 a": 1.0}, rules)


def hmm(flip: float = 0.05, noise: float = 0.1) -> Source:
    """Make a hidden Markov model of one bit, written as a or b with error rate `noise`; it flips with probability `flip`."""
    _check_numbers(flip=flip, noise=noise)
    rules = {
        state: [
            Production((1 - noise if letter == state else noise) * (1 - flip if after == state else flip), letter, (after,))
            for letter, after in product("ab", "ab")
        ]
        for state in "ab"
    }
    return make_source({"a": 0.5, "b": 0.5}, rules)


def pcfg(branching: float = 0.3, num_newlines: int = 1) -> Source:
    """Make a source of strings of S -> a S S | b, then newlines.

    With p = `branching`, a string has H(p) / (1 - 2 p) nats in 1 / (1 - 2 p) + d characters on average.

    d = `num_newlines`. Only newlines reward counting the open S: with d = 0, neighbouring characters are independent.

    Raises:
      InputError: p is 1/2 or more: strings would have no finite mean length.
    Source: Booth & Thompson (1973), IEEE Transactions on Computers C-22(5).
    """
    _check_numbers(branching=branching)
    if branching >= 0.5:
        raise InputError(f"branching is {branching}; it must be below 0.5, or strings have no finite mean length")
    end, rules = _newlines(num_newlines, "string")
    for state, below in (("S", ()), ("string", (end,))):
        rules[state] = [Production(branching, "a", ("S", "S", *below)), Production(1 - branching, "b", below)]
    return make_source({"string": 1.0}, rules)


SOURCES: dict[str, Callable[[], Source]] = {
    "reber": reber,
    "embedded-reber": embedded_reber,
    "add": delayed_sum,
    "copy": noisy_copy,
    "anbn": anbn,
    "hmm": hmm,
    "pcfg": pcfg,
}


def _fair(*arrows: str) -> list[Production]:
    # An arrow is a character and the name of the state that it leads to.
    return [Production(1 / len(arrows), arrow[0], (arrow[1:],)) for arrow in arrows]


def _all_strings(letters: str, length: int) -> list[str]:
    """Return all strings of a length, as names of states."""
    count = len(letters) ** length
    if count > MAX_STATES:
        raise InputError(f"this source has {len(letters)}^{length} states; at most {MAX_STATES:,} are possible: lower its lag")
    return ["".join(each) for each in product(letters, repeat=length)]


def _check_numbers(**numbers: Any) -> None:
    for name, number in numbers.items():
        if not is_number(number):
            raise InputError(f"{name} is {number!r}; it must be a number from 0 to 1")


def _newlines(num_newlines: int, then: str) -> tuple[str, dict[str, list[Production]]]:
    check_whole(0, num_newlines=num_newlines)
    names = [*(f"{n} to go" for n in range(num_newlines, 0, -1)), then]
    return names[0], {name: [Production(1.0, "\n", (after,))] for name, after in pairwise(names)}


def _target_probability(first: int, second: int) -> float:
    return 0.5 + 0.5 * first - 0.25 * second


def _binary_entropy(p: np.ndarray) -> float:
    return entropy(np.array([p, 1 - p])) / p.size
