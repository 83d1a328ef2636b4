import re
from itertools import product
from math import exp, log

import numpy as np
import pytest

from jaxrnn.data import automaton, synthetic
from jaxrnn.data.automaton import Production
from jaxrnn.errors import InputError

BIT = log(2)
ALPHABETS = {
    "reber": "BEPSTVX",
    "embedded-reber": "BEPSTVX",
    "add": "abcd",
    "copy": "abcd",
    "anbn": "\nab",
    "hmm": "ab",
    "pcfg": "\nab",
}
every_source = pytest.mark.parametrize("name", synthetic.SOURCES)


def binary_entropy(p):
    return -p * log(p) - (1 - p) * log(1 - p)


COPY_ENTROPY = -0.8125 * log(0.8125) - 3 * 0.0625 * log(0.0625)
ADD_ENTROPY = log(2) + (log(2) + 2 * binary_entropy(0.25)) / 4
CLOSED_FORMS = [
    (synthetic.reber(), 6 / 8 * BIT),
    (synthetic.embedded_reber(), 7 / 12 * BIT),
    (synthetic.embedded_reber(remembers=False), 8 / 12 * BIT),
    (synthetic.delayed_sum(), ADD_ENTROPY),
    (synthetic.delayed_sum(1, 2), ADD_ENTROPY),
    (synthetic.noisy_copy(), COPY_ENTROPY),
    (synthetic.noisy_copy(lag=1, num_letters=2, noise=0.2), binary_entropy(0.1)),
    (synthetic.anbn(num_newlines=0), log(32) / 33),
    (synthetic.anbn(), log(32) / 34),
    (synthetic.anbn(num_newlines=2), log(32) / 35),
    (synthetic.anbn(longest=1), 0.0),
    (synthetic.pcfg(num_newlines=0), binary_entropy(0.3)),
    (synthetic.pcfg(), binary_entropy(0.3) / 0.4 / (2.5 + 1)),
    (synthetic.pcfg(0.4, 2), binary_entropy(0.4) / 0.2 / (5 + 2)),
    (synthetic.hmm(noise=0.5), log(2)),
]


@pytest.mark.parametrize(("source", "nats"), CLOSED_FORMS)
def test_the_entropy_rate_is_the_closed_form(source, nats):
    assert automaton.entropy_rate(source) == pytest.approx(nats, abs=1e-11)


@pytest.mark.parametrize(
    ("name", "nats"),
    [("reber", 0.51986), ("embedded-reber", 0.40434), ("add", BIT + 0.45445), ("copy", 0.68857), ("hmm", 0.668698 * BIT)],
)
def test_the_entropy_rate_is_the_known_number(name, nats):
    assert automaton.entropy_rate(synthetic.named_source(name)) == pytest.approx(nats, abs=6e-6)


def test_the_floors_of_add_are_the_known_numbers():
    assert synthetic.add_floors() == pytest.approx((0.6616, 0.6277, 0.5192, 0.4545), abs=5e-5)
    assert BIT + synthetic.add_floors().both == pytest.approx(automaton.entropy_rate(synthetic.delayed_sum()), abs=1e-12)


@pytest.mark.parametrize("name", ALPHABETS)
def test_the_mean_of_the_floor_is_the_entropy_rate(name):
    source = synthetic.named_source(name)
    losses = automaton.source_losses(source, automaton.write_text(source, 40_000, 1))
    batches = losses.reshape(40, 1_000).mean(1)  # so long that they are nearly independent
    standard_error = batches.std(ddof=1) / 40**0.5
    assert 0 < standard_error < 0.02 * losses.mean()
    assert abs(losses.mean() - automaton.entropy_rate(source)) < 4 * standard_error


def reber_probability(text):
    return 0.5 ** sum(c in "TPSXV" for c in text)


def embedded_probability(text):
    strings = re.findall(r"B([TP])(B[^E]*E)\1E", text)
    assert sum(len(inner) + 4 for _, inner in strings) == len(text)
    return np.prod([0.5 * reber_probability(inner) for _, inner in strings])


def add_probability(text):
    x, y = zip(*(divmod("abcd".index(c), 2) for c in text), strict=True)
    total = 0.0
    for before in product((0, 1), repeat=10):
        inputs, probability = (*before, *x), 1.0
        for t, target in enumerate(y):
            p = 0.5 + 0.5 * inputs[t + 10 - 6] - 0.25 * inputs[t + 10 - 10]
            probability *= 0.5 * (p if target else 1 - p)
        total += probability / 2**10
    return total


def copy_probability(text):
    return 0.25 ** min(6, len(text)) * np.prod(
        [0.8125 if now == before else 0.0625 for now, before in zip(text[6:], text, strict=False)]
    )


def hmm_probability(text):
    total = 0.0
    for hidden in product("ab", repeat=len(text)):
        written = np.prod([0.9 if x == z else 0.1 for x, z in zip(text, hidden, strict=True)])
        total += 0.5 * written * np.prod([0.95 if z == w else 0.05 for z, w in zip(hidden[:-1], hidden[1:], strict=True)])
    return total


PROBABILITIES = [
    ("reber", ["BTXSEBPVVEBTSSXXTVPSE"], reber_probability),
    ("embedded-reber", ["BTBTXSETE", "BPBPTTVPXTVVEPE", "BPBPVVEPEBTBTSXSETE"], embedded_probability),
    ("add", ["abdcd", "cdbdaabddcdbaab"], add_probability),
    ("copy", ["abcd", "abcddabbcddaaabcd"], copy_probability),
    ("anbn", ["ab\n", "aaabbb\nab\n", "aabb\n" * 3, "a" * 32 + "b" * 32 + "\n"], lambda text: (1 / 32) ** text.count("\n")),
    ("hmm", ["a", "ab", "abbbbababb"], hmm_probability),
    ("pcfg", ["b\n", "aabbb\nabaabbb\nb\n"], lambda text: 0.3 ** text.count("a") * 0.7 ** text.count("b")),
]
TEXTS = [(name, text, probability) for name, texts, probability in PROBABILITIES for text in texts]


@pytest.mark.parametrize(("name", "text", "probability"), TEXTS)
def test_the_floor_sums_to_the_probability_of_the_text(name, text, probability):
    losses = automaton.source_losses(synthetic.named_source(name), text)
    assert losses.shape == (len(text),)
    assert losses.sum() == pytest.approx(-log(probability(text)), abs=1e-12)


def following(source, text, alphabet):
    """P(character | text) for each character of the alphabet."""

    def probability(character):
        try:
            return exp(-automaton.source_losses(source, text + character)[-1])
        except InputError as error:
            assert f"{character!r} at position {len(text)} cannot follow" in str(error)  # noqa: PT017
            return 0.0

    return [probability(character) for character in alphabet]


@pytest.mark.parametrize(("name", "alphabet"), ALPHABETS.items())
def test_probabilities_of_the_next_character_sum_to_one(name, alphabet):
    source = synthetic.named_source(name)
    text = automaton.write_text(source, 40, 3)
    for length in (0, 1, 7, 40):
        assert sum(following(source, text[:length], alphabet)) == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(("name", "alphabet"), ALPHABETS.items())
def test_a_text_is_of_all_characters_of_the_alphabet(name, alphabet):
    text = synthetic.generate_text(name, 3_000, 0)
    assert len(text) == 3_000
    assert "".join(sorted(set(text))) == alphabet


@every_source
def test_the_seed_alone_decides_and_a_shorter_text_is_the_beginning(name):
    text = synthetic.generate_text(name, 500, 0)
    assert text == synthetic.generate_text(name, 500, 0)
    assert text[:100] == synthetic.generate_text(name, 100, 0)
    assert text != synthetic.generate_text(name, 500, 1)


def test_the_first_character_has_its_probability():
    source = synthetic.noisy_copy(lag=1, num_letters=2, noise=0.2)
    num_a = sum(automaton.write_text(source, 1, seed) == "a" for seed in range(400))
    assert abs(num_a - 200) < 4 * 10  # the standard deviation is 10
    assert automaton.source_losses(source, "a")[0] == pytest.approx(BIT, abs=1e-12)


def test_every_source_is_tested():
    assert set(ALPHABETS) == set(synthetic.SOURCES) == {name for name, _, _ in PROBABILITIES}


def test_an_unknown_name_is_an_error():
    with pytest.raises(InputError, match="no synthetic source 'rebre'; the known ones are reber, embedded-reber, add, copy"):
        synthetic.generate_text("rebre", 10, 0)


@pytest.mark.parametrize(
    ("name", "text", "position"),
    [
        ("reber", "TB", 0),
        ("embedded-reber", "BTBTXSEPE", 7),
        ("anbn", "aabb\naab\n", 8),
        ("anbn", "a" * 33, 32),
        ("hmm", "abc", 2),
        ("pcfg", "abb\n\n", 4),
        ("add", "bbbbdbbbbba", 10),  # the input 6 before is 1, the one 10 before is 0: y = 1 for certain
    ],
)
def test_an_impossible_character_is_named(name, text, position):
    source = synthetic.named_source(name)
    automaton.source_losses(source, text[:position])
    with pytest.raises(InputError, match=f"at position {position} cannot follow"):
        automaton.source_losses(source, text)


def test_a_reber_string_has_8_characters_and_an_embedded_one_12():
    for name, end, length in (("reber", "EB", 8), ("embedded-reber", "TEB", 12), ("embedded-reber", "PEB", 12)):
        text = synthetic.generate_text(name, 30_000, 0)
        num_strings = text.count(end) if name == "reber" else text.count("TEB") + text.count("PEB")
        assert len(text) / num_strings == pytest.approx(length, rel=0.02)


def test_forgetting_the_outer_symbol_costs_one_bit_per_string():
    remembering, forgetting = synthetic.embedded_reber(), synthetic.embedded_reber(remembers=False)
    text = automaton.write_text(remembering, 30_000, 2)
    more = automaton.source_losses(forgetting, text) - automaton.source_losses(remembering, text)
    outer = np.array([before == "E" and c in "TP" for before, c in zip("B" + text, text, strict=False)])
    np.testing.assert_allclose(more, BIT * outer, atol=1e-12)
    assert automaton.source_losses(forgetting, text).mean() == pytest.approx(8 / 12 * BIT, abs=0.003)


def test_within_the_lag_nothing_can_be_predicted():
    text = synthetic.generate_text("copy", 7, 5)
    losses = automaton.source_losses(synthetic.noisy_copy(), text)
    np.testing.assert_allclose(losses[:6], log(4), atol=1e-12)
    assert min(abs(losses[6] + log(p)) for p in (0.8125, 0.0625)) < 1e-12


def test_the_entropy_rate_of_the_hmm_is_in_a_bracket_that_shrinks():
    source = synthetic.hmm()
    brackets = [automaton.bound_entropy_rate(source, length) for length in (1, 2, 4, 8, 16)]
    lower, upper = np.array(brackets).T
    assert (lower[0], upper[0]) == pytest.approx((binary_entropy(0.1), log(2)), abs=1e-12)
    assert (np.diff(lower) > 0).all()
    assert (np.diff(upper) < 0).all()
    assert 0 < upper[-1] - lower[-1] < 5e-9
    assert lower[-1] < automaton.entropy_rate(source) < upper[-1]


@pytest.mark.parametrize("name", ["reber", "embedded-reber"])
def test_knowing_the_state_gives_the_entropy_rate_at_any_length(name):
    source = synthetic.named_source(name)
    for length in (1, 2, 9):
        lower, upper = automaton.bound_entropy_rate(source, length)
        assert lower == pytest.approx(automaton.entropy_rate(source), abs=1e-11)
        assert upper > lower


def test_a_stack_has_no_bracket():
    with pytest.raises(InputError, match="is replaced by 2 states"):
        automaton.bound_entropy_rate(synthetic.pcfg())


def test_an_ambiguous_grammar_is_filtered_over_all_its_stacks():
    # A text of x alone leaves open how many y are still to come.
    rules = {
        "root": [Production(1.0, "x", ("middle", "y", "root"))],
        "middle": [Production(0.25, "x", ("middle", "y")), Production(0.75, "x", ())],
        "y": [Production(0.5, "x", ()), Production(0.5, "y", ())],
    }
    source = automaton.make_source({"root": 1.0}, rules)
    assert automaton.source_losses(source, "xxy").sum() == pytest.approx(-log(0.75 * 0.5), abs=1e-12)
    assert automaton.source_losses(source, "xxx").sum() == pytest.approx(-log(0.75 * 0.5 + 0.25), abs=1e-12)
    assert automaton.source_losses(source, "xxxy").sum() == pytest.approx(-log(0.25 * 0.75 * 0.5), abs=1e-12)


@pytest.mark.parametrize("make", [lambda: synthetic.noisy_copy(noise=1.5), lambda: synthetic.hmm(flip=-0.1)])
def test_what_is_no_probability_is_an_error(make):
    with pytest.raises(InputError, match="must be >= 0 with sum 1"):
        make()


@pytest.mark.parametrize("start", [{"a": 0.5}, {"a": float("nan")}])
def test_a_first_state_without_a_distribution_is_an_error(start):
    with pytest.raises(InputError, match=r"the probabilities of the first state are .* with sum 1"):
        automaton.make_source(start, {"a": [automaton.Production(1.0, "a", ("a",))]})


def test_a_state_without_rules_is_an_error():
    with pytest.raises(InputError, match="state 'b' has no rules"):
        automaton.make_source({"a": 1.0}, {"a": [automaton.Production(1.0, "a", ("b",))]})


def test_strings_that_do_not_end_are_an_error():
    with pytest.raises(InputError, match=r"branching is 0\.5; it must be below 0\.5"):
        synthetic.pcfg(branching=0.5)
