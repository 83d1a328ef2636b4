"""A mixture at binary decisions in plain numbers, one decision at a time: what `test_mixture.py` compares with."""

import math

import numpy as np
from test_binary_code import path

from jaxrnn.models import decisions, mixture
from jaxrnn.models.binary_code import make_code

V = 6
CODE = make_code(V)
CONTEXTS = (3, 2)  # of each model that counts
NETWORKS, COUNTS = np.array([True, True, False, False]), np.array([False, False, True, True])
GROUPS = np.stack([NETWORKS, COUNTS, NETWORKS | COUNTS])


def logit(p):
    return math.log(p / (1 - p))


def sigmoid(odds):
    return 1 / (1 + math.exp(-odds))


def between(low, x, high):
    return min(max(x, low), high)


def level(times):
    return sum(times >= bound for bound in (1, 2, 3, 4, 5, 6, 7, 8, 12, 20, 40, 100))


class Witness:
    """One mixture, of some of the models, in dictionaries of plain numbers that are filled where they are needed."""

    def __init__(self, number):
        self.number, group = number, GROUPS[number]
        self.members = [m for m in range(4) if group[m]]
        networks, counting = [m for m in self.members if m < 2], [m for m in self.members if m >= 2]
        self.of_model = {2: range(3), 3: range(3, 5)}  # contexts of a model that counts
        self.contexts = [c for m in counting for c in self.of_model[m]]
        self.rate = mixture.RATE if counting else mixture.RATE_OF_NETWORKS
        self.selections = ["previous", *counting]
        self.rows, self.last_rows, self.refined, self.worth = {}, {}, {}, {}
        self.parts = [g for g in range(3) if (GROUPS[g] <= group).all() and (GROUPS[g] != group).any()]  # mixtures of some
        of_models = (1 if self.parts else 2) / 3 / len(self.members)
        of_parts = {("mixture", g): 1 / 3 / len(self.parts) for g in self.parts}
        self.trust = {"mixture": 1 / 3} | of_parts | dict.fromkeys(self.members, of_models)
        self.num_read, self.num_networks = 0, len(networks)

    def inputs(self, log_ps, sides, last_side):
        x: dict = {"bias": decisions.BIAS}
        for m in self.members:
            zero, one = (math.fsum(math.exp(log_ps[m][v]) for v in side) + 1e-9 for side in sides["characters"])
            x["odds", m] = between(-12, math.log(one / zero), 12)
        for c in self.contexts:
            zero, one = sides["times"][c]
            if zero + one:
                x["counted", c] = math.log((one + 0.4) / (zero + 0.4))
                x["worth", c] = logit(between(1e-4, self.worth.setdefault(*self.cell(c, zero, one, last_side[c])), 1 - 1e-4))
        return x

    @staticmethod
    def cell(c, zero, one, side):
        """The place of what such counts are worth, and the guess at first."""
        a, b = level(min(zero, 255)), level(min(one, 255))
        return (c, a, b, side), (b + 0.4) / (a + b + 0.8)

    def select(self, previous, sides):
        """Which row of weights each selection takes."""
        rows: list = [("previous", previous)]
        for m in self.selections[1:]:
            known = [c for c in self.of_model[m] if sum(sides["times"][c])]
            zero, one = sides["times"][known[-1]] if known else (0, 0)
            rows.append((m, known[-1] if known else None, not (zero and one), min(level(min(zero + one, 255)), 7)))
        return rows

    def decide(self, node, bit, previous, before, log_ps, sides, last_side):
        """The probability of a decision; then learn from it."""
        x, selected = self.inputs(log_ps, sides, last_side), self.select(previous, sides)
        equal = {("odds", m): 1 / len(self.members) for m in self.members}
        rows = [self.rows.setdefault(each, dict(equal)) for each in selected]
        z = [between(-18, math.fsum(row.get(i, 0) * x[i] for i in x), 18) for row in rows]
        last_row = self.last_rows.setdefault(node, [1 / len(selected)] * len(selected))
        odds = between(-18, math.fsum(w * each for w, each in zip(last_row, z, strict=True)), 18)
        p = sigmoid(odds)
        place = (between(-8, odds, 8) + 8) * 2  # among 33 odds, a half apart
        low = min(int(place), 31)
        near = {low: 1 - (place - low), low + 1: place - low}
        keys = [("one", previous, node), ("two", before, previous, node)]
        refining = [self.refined.setdefault(key, [sigmoid(i / 2 - 8) for i in range(33)]) for key in keys]
        refined = sum(row[i] * share for row in refining for i, share in near.items()) / 2
        of_one = between(1e-6, (p + refined) / 2, 1 - 1e-6)
        rate = self.rate * (1 + mixture.FIRST_RATES / (1 + self.num_read / mixture.CHARACTERS_TO_SETTLE))
        for row, each in zip(rows, z, strict=True):
            for i in x:
                row[i] = row.get(i, 0) + rate * (bit - sigmoid(each)) * x[i]
        for s, each in enumerate(z):
            last_row[s] += rate * (bit - p) * each
        for row in refining:
            for i, share in near.items():
                row[i] += mixture.REFINING_RATE * (bit - row[i]) * (share > 0.5)
        for c in self.contexts:
            zero, one = sides["times"][c]
            if zero + one:
                cell, _ = self.cell(c, zero, one, last_side[c])
                self.worth[cell] += mixture.COUNT_RATE * (bit - self.worth[cell])
        return of_one if bit else 1 - of_one

    def mix(self, known, t, y, previous, before):
        """The probability of a character, after which what mixes decisions has learned from it."""
        p, left = 1.0, set(range(V))
        for d, (node, bit) in enumerate(path(CODE, y)):
            halves = [{v for v in left if path(CODE, v)[d][1] == half} for half in (0, 1)]
            times = [[sum(int(known.times[t, c, v]) for v in half) for half in halves] for c in range(5)]
            sides = {"characters": halves, "times": times}
            last = [next((half for half in (0, 1) if known.last[t, c] in halves[half]), 2) for c in range(5)]
            p *= self.decide(node, bit, previous, before, known.log_ps[t].tolist(), sides, last)
            left = halves[bit]
        return p

    def trust_whom(self, log_ps, y, ps_of_mixtures):
        """Nats of a character, after which the linear mixture has learned from it."""
        ps = {m: math.exp(log_ps[m, y]) for m in self.members}
        ps |= {("mixture", g): ps_of_mixtures[g] for g in self.parts} | {"mixture": ps_of_mixtures[self.number]}
        nats = -math.log(math.fsum(self.trust[e] * ps[e] for e in ps))
        proof = {e: self.trust[e] * max(ps[e], math.exp(-15)) for e in ps}
        shared_out = {e: each / math.fsum(proof.values()) + 1e-4 for e, each in proof.items()}
        self.trust = {e: each / math.fsum(shared_out.values()) for e, each in shared_out.items()}
        self.num_read += 1
        return nats
