"""A source of characters as a stack machine: it writes a text, gives the exact loss of the source on it, and its entropy rate.

Losses and entropies are in nats.
"""

from bisect import bisect
from collections import defaultdict
from collections.abc import Iterable
from itertools import accumulate
from math import log, log2
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from jaxrnn.errors import InputError

MAX_TEXTS = 2**16  # that are enumerated for an entropy rate without a closed form


class Production(NamedTuple):
    """With this probability a state writes `character`, and the states `then` take its place, the first one on top."""

    probability: float
    character: str
    then: tuple[str, ...]


class Source(NamedTuple):
    """A probabilistic grammar in Greibach normal form: each rule of each state writes one character.

    The stack holds one state at first, drawn from `start`. Each character is written by a rule of the state on top. A source
    with a finite number of states is the case in which `then` is always one state. The stack must never become empty, nor
    grow for ever.
    """

    start: dict[str, float]
    rules: dict[str, tuple[Production, ...]]


class Bounds(NamedTuple):
    """`lower` <= entropy rate <= `upper`, in nats per character."""

    lower: float
    upper: float


def make_source(start: dict[str, float], rules: dict[str, list[Production]]) -> Source:
    """A source with these rules, but those of probability zero.

    Raises:
      InputError: probabilities that are no distribution, or a state without rules.
    """
    _check_distribution("of the first state", list(start.values()))
    for state, options in rules.items():
        _check_distribution(f"of what state {state!r} does", [rule.probability for rule in options])
    possible = {state: tuple(rule for rule in options if rule.probability) for state, options in rules.items()}
    for state in (*start, *(after for options in possible.values() for rule in options for after in rule.then)):
        if state not in rules:
            raise InputError(f"state {state!r} has no rules; each state that can be reached needs some")
    return Source(start, possible)


def _check_distribution(name: str, probabilities: list[float]) -> None:
    if not (min(probabilities, default=0) >= 0 and abs(sum(probabilities) - 1) <= 1e-12):  # also where one is NaN
        raise InputError(f"the probabilities {name} are {probabilities}; they must be >= 0 with sum 1")


def write_text(source: Source, num_characters: int, seed: int) -> str:
    """The first characters that a source writes; with the same seed, a shorter text is the beginning of a longer one."""
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
    """Loss of the source itself at each character: -ln P(character | all before it), in nats.

    This is the lowest expected loss that any predictor of this source can have. The first character counts too. The forward
    filter is exact; it keeps the probability of every stack that the text allows, so that its cost grows with their number.

    Raises:
      InputError: a character cannot follow; it names the first such character and its position from 0.
    """
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
    """Limit of the mean of `source_losses`, in nats per character.

    Exact where a state and the character that it writes determine the rule: the mean entropy of a state's rules. Otherwise
    there is no closed form, and it is the middle of `bound_entropy_rate` over as many texts as are no trouble.

    Raises:
      InputError: there is no closed form, nor a finite number of states.
    Source: Soule (1974), Information and Control 25 (grammars); Cover & Thomas (2006), section 4.2 (finite sources).
    """
    if all(len({rule.character for rule in rules}) == len(rules) for rules in source.rules.values()):
        entropies = [entropy(np.array([rule.probability for rule in rules])) for rules in source.rules.values()]
        return float(_frequencies(source) @ np.array(entropies))
    num_characters = max(2, len({rule.character for rules in source.rules.values() for rule in rules}))
    return sum(bound_entropy_rate(source, length=max(2, int(log2(MAX_TEXTS) / log2(num_characters))))) / 2


def bound_entropy_rate(source: Source, length: int = 16) -> Bounds:
    """Bounds of the entropy rate: H(X_n | X_1 .. X_n-1, Z_1) <= h <= H(X_n | X_1 .. X_n-1), Z_1 the first state, n = `length`.

    All texts of `length` characters are enumerated: f64[texts, states] numbers.

    Raises:
      InputError: the source has no finite number of states.
    Source: Cover & Thomas (2006), Elements of Information Theory, theorem 4.5.1.
    """
    transitions, stationary = _transitions(source), _frequencies(source)
    known = [_last_entropy(Z_1, transitions, length) for Z_1 in np.eye(len(stationary))]
    return Bounds(float(stationary @ np.array(known)), _last_entropy(stationary, transitions, length))


def entropy(p: np.ndarray) -> float:
    """-sum p ln p over all of `p`, in nats."""
    p = p[p > 0]
    return float(-(p * np.log(p)).sum())


def _cumulative(probabilities: Iterable[float]) -> list[float]:
    return list(accumulate(probabilities))[:-1]  # without the last one, which rounding may put below a draw


def _frequencies(source: Source) -> Float64[np.ndarray, " states"]:
    # How often each state is on top. Each state on top was put there by a rule: f = f M, M the mean numbers of states put.
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
                raise InputError(f"state {state!r} is replaced by {len(then)} states; bounds are for a finite number of states")
            T[characters.index(character), index[state], index[then[0]]] += probability
    return T


def _last_entropy(start: np.ndarray, transitions: np.ndarray, length: int) -> float:
    # H(X_n | X_1 .. X_n-1), n = length, if the first state has the distribution `start`.
    # joint: f64[texts, states], the probability of a text and of the state after it, for all texts that are possible.
    joint, shorter = start[None], 0.0
    for _ in range(length):
        shorter = entropy(joint.sum(1))
        joint = (joint @ transitions).reshape(-1, len(start))
        joint = joint[joint.any(1)]
    return entropy(joint.sum(1)) - shorter
