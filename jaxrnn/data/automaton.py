"""Stochastic sources of text as stack machines, with their exact losses and entropy rates.

Losses and entropies are in nats.
"""

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate
from math import log, log2
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from jaxrnn.errors import InputError, check_whole, describe_kind

MAX_TEXTS = 2**16  # enumerated to bound an entropy rate that has no closed form
MAX_NUMBERS = 2**27  # that are kept for that, 8 bytes each


class Production(NamedTuple):
    """A rule of a state: with this probability, write `character` and replace the state with `then`, the first one on top."""

    probability: float
    character: str
    then: tuple[str, ...]


class Source(NamedTuple):
    """A probabilistic grammar in Greibach normal form: each rule of each state writes one character.

    The stack starts with one state drawn from `start`. Each character is written by a rule of the top state. In a finite-state
    source `then` always holds one state. The stack must never become empty or grow without bound.
    """

    start: dict[str, float]
    rules: dict[str, tuple[Production, ...]]


class Bounds(NamedTuple):
    """`lower` <= entropy rate <= `upper`, in nats per character."""

    lower: float
    upper: float


def make_source(start: dict[str, float], rules: dict[str, list[Production]]) -> Source:
    """Make a source from rules, dropping those of probability zero.

    Raises:
      InputError: some probabilities do not form a distribution, or a state has no rules.
    """
    _check_distribution("of the first state", list(start.values()))
    for state, options in rules.items():
        _check_distribution(f"of the rules of state {state!r}", [rule.probability for rule in options])
    possible = {state: tuple(rule for rule in options if rule.probability) for state, options in rules.items()}
    for state in (*start, *(after for options in possible.values() for rule in options for after in rule.then)):
        if state not in rules:
            raise InputError(f"state {state!r} has no rules; each state that can be reached needs at least one")
    return Source(start, possible)


def _check_source(source: Any) -> None:
    if not isinstance(source, Source):
        raise InputError(f"the source is {describe_kind(source)}; it must be a Source, such as named_source('reber')")


def _check_distribution(name: str, probabilities: list[float]) -> None:
    if not (min(probabilities, default=0) >= 0 and abs(sum(probabilities) - 1) <= 1e-12):  # also where one is NaN
        raise InputError(f"the probabilities {name} are {probabilities}; they must be >= 0 with sum 1")


def write_text(source: Source, num_characters: int, seed: int) -> str:
    """Sample a text. With the same seed, a shorter text is a prefix of a longer one."""
    _check_source(source)
    check_whole(0, num_characters=num_characters, seed=seed)
    first, *draws = np.random.default_rng(seed).random(1 + num_characters).tolist()
    tables = {
        state: (_cumulative(rule.probability for rule in rules), [(rule.character, rule.then[::-1]) for rule in rules])
        for state, rules in source.rules.items()
    }
    stack = [list(source.start)[bisect(_cumulative(source.start.values()), first)]]
    characters = []
    for draw in draws:
        thresholds, outcomes = tables[stack.pop()]
        character, pushed = outcomes[bisect(thresholds, draw)]
        characters.append(character)
        stack.extend(pushed)
    return "".join(characters)


def source_losses(source: Source, text: str) -> Float64[np.ndarray, " time"]:
    """Compute the loss of the source itself at each character, -ln P(character | prefix), in nats.

    No predictor of this source has a lower expected loss. The first character is included. The forward filter is exact: it
    tracks the probability of every possible stack, so its cost grows with their number.

    Raises:
      InputError: a character is impossible; the message names the first one and its position from 0.
    """
    _check_source(source)
    moves = {state: defaultdict(list) for state in source.rules}
    for state, rules in source.rules.items():
        for rule in rules:
            moves[state][rule.character].append(rule)
    belief, losses = {(state,): probability for state, probability in source.start.items()}, np.empty(len(text))
    for position, character in enumerate(text):
        joint = defaultdict(float)
        for stack, probability in belief.items():
            for rule in moves[stack[0]].get(character, ()):
                joint[rule.then + stack[1:]] += probability * rule.probability
        if not joint:
            raise InputError(f"character {character!r} at position {position} cannot follow in this source")
        total = sum(joint.values())
        losses[position] = -log(total)
        belief = {stack: probability / total for stack, probability in joint.items()}
    return losses


def entropy_rate(source: Source) -> float:
    """Compute the entropy rate: the limit of the mean of `source_losses`, in nats per character.

    Exact if a state and the character that it writes determine the rule: the mean entropy of a state's rules. Otherwise there
    is no closed form, and the result is the midpoint of `bound_entropy_rate` over at most `MAX_TEXTS` texts.

    Raises:
      InputError: no closed form and infinitely many states.
    Source: Soule (1974), Information and Control 25 (grammars); Cover & Thomas (2006), section 4.2 (finite sources).
    """
    _check_source(source)
    if all(len({rule.character for rule in rules}) == len(rules) for rules in source.rules.values()):
        entropies = [entropy(np.array([rule.probability for rule in rules])) for rules in source.rules.values()]
        return float(_frequencies(source) @ np.array(entropies))
    num_characters = max(2, len({rule.character for rules in source.rules.values() for rule in rules}))
    return sum(bound_entropy_rate(source, length=max(2, int(log2(MAX_TEXTS) / log2(num_characters))))) / 2


def bound_entropy_rate(source: Source, length: int = 16) -> Bounds:
    """Bound the entropy rate: H(X_n | X_1 .. X_n-1, Z_1) <= h <= H(X_n | X_1 .. X_n-1), Z_1 the first state, n = `length`.

    All texts of `length` characters are enumerated: f64[texts, states] numbers.

    Raises:
      InputError: the source has infinitely many states; `length` is under 1, or there are too many texts of it.
    Source: Cover & Thomas (2006), Elements of Information Theory, theorem 4.5.1.
    """
    _check_source(source)
    check_whole(1, length=length)
    transitions, stationary = _transitions(source), _frequencies(source)
    known = [_last_entropy(Z_1, transitions, length) for Z_1 in np.eye(len(stationary))]
    return Bounds(float(stationary @ np.array(known)), _last_entropy(stationary, transitions, length))


def entropy(p: np.ndarray) -> float:
    """Compute -sum p ln p in nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _cumulative(probabilities: Iterable[float]) -> list[float]:
    return list(accumulate(probabilities))[:-1]  # not the last one: rounding may put it below a draw


def _frequencies(source: Source) -> Float64[np.ndarray, " states"]:
    # How often each state is on top. A rule put it there, so f = f M, where M[s, t] is how often s puts t, on average.
    index = {state: i for i, state in enumerate(source.rules)}
    put = [(index[s], index[after], r.probability) for s, rules in source.rules.items() for r in rules for after in r.then]
    before, after, M = (np.array(column) for column in zip(*put, strict=True))
    f, change = np.array([source.start.get(state, 0.0) for state in index]), 1.0
    while change > 1e-14:
        new = f + np.bincount(after, M * f[before], len(f))  # f + f M: a period, if there is one, dies out
        new /= new.sum()
        f, change = new, np.abs(new - f).sum()
    return f


def _transitions(source: Source) -> Float64[np.ndarray, "characters states states"]:
    index = {state: i for i, state in enumerate(source.rules)}
    characters = sorted({rule.character for rules in source.rules.values() for rule in rules})
    T = np.zeros((len(characters), len(index), len(index)))
    for state, rules in source.rules.items():
        for probability, character, then in rules:
            if len(then) != 1:
                raise InputError(f"state {state!r} is replaced by {len(then)} states; only a finite-state source has bounds")
            T[characters.index(character), index[state], index[then[0]]] += probability
    return T


def _last_entropy(start: np.ndarray, transitions: np.ndarray, length: int) -> float:
    # H(X_n | X_1 .. X_n-1), n = length, if the first state has the distribution `start`.
    # joint: f64[texts, states], the probability of a text and of the state after it, for all texts that are possible.
    joint, shorter = start[None], 0.0
    for n in range(length):
        if joint.size * len(transitions) > MAX_NUMBERS:
            raise InputError(
                f"length is {length}, but there are too many texts of more than {n} characters; choose a lower one"
            )
        shorter = entropy(joint.sum(1))
        joint = (joint @ transitions).reshape(-1, len(start))
        joint = joint[joint.any(1)]
    return entropy(joint.sum(1)) - shorter
