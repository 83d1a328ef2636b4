"""What a log is usually searched with: rare templates (drain3), and isolation forests (scikit-learn).

They see the whole log before they score a line, and what differs from line to line is masked for all of them, which includes
the time stamp. drain3 is tried with masks that suit any log, and with one more that was made for these logs, for the names of
users. One forest cuts hashed trigrams; the other is told how rare the rarest word and the rarest pair of words of a line are.

Tried on logs 100 and 101, which are not reported: for drain3 similarities of 0.4 to 0.9 and 1.0, without and with masked users
(on logs of three days); for the forests trigrams, bigrams with trigrams, words, the first 50 singular vectors of words with
TF-IDF, and rarities of words and pairs with 256, 1,024 and 10,000 samples.
"""

import re
from collections import Counter
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

Masks: TypeAlias = tuple[tuple[re.Pattern[str], str], ...]
MASKS: Masks = tuple((re.compile(pattern), mask) for pattern, mask in (
    (r"\b\d+\.\d+\.\d+\.\d+\b", "ADDRESS"), (r"(?<=id=)[0-9a-f]{8}\b", "HEX"), (r"(?<= )/\S*", "PATH"), (r"\d+", "0"),
))  # fmt: skip
USERS = ((re.compile(r"(?<=by user )\w+"), "USER"), *MASKS)
SIMILARITY, SIMILARITY_OF_USERS, DEPTH = 0.9, 1.0, 5  # of drain3
FEATURES, NGRAMS, TREES = 1 << 12, (3, 3), 100  # of the forests
SAMPLES, SAMPLES_OF_WORDS = 1_024, 10_000  # from which each tree is grown


def masked(line: str, masks: Masks = MASKS) -> str:
    """Replace what differs from line to line."""
    for pattern, mask in masks:
        line = pattern.sub(mask, line)
    return line


def template_rarity(lines: list[str], similarity: float = SIMILARITY, masks: Masks = MASKS) -> np.ndarray:
    """Score a line by how few lines of the whole log have its template."""
    from drain3 import TemplateMiner  # pyright: ignore[reportMissingImports]
    from drain3.template_miner_config import TemplateMinerConfig  # pyright: ignore[reportMissingImports]

    config = TemplateMinerConfig()
    config.drain_sim_th, config.drain_depth, config.parametrize_numeric_tokens = similarity, DEPTH, True
    miner = TemplateMiner(config=config)
    found = np.array([miner.add_log_message(masked(line, masks))["cluster_id"] for line in lines])
    return -np.log(np.bincount(found)[found])


def forest(lines: list[str], ngrams: tuple[int, int] = NGRAMS, samples: int = SAMPLES, seed: int = 0) -> np.ndarray:
    """Score a line by how quickly random cuts isolate its hashed n-grams of characters."""
    from sklearn.feature_extraction.text import HashingVectorizer  # pyright: ignore[reportMissingImports]

    how: dict[str, Any] = {"analyzer": "char", "ngram_range": ngrams, "n_features": FEATURES, "lowercase": False, "norm": None}
    return _isolate(HashingVectorizer(**how).transform([re.sub(r"\d", "0", line) for line in lines]), samples, seed)


def forest_of_words(lines: list[str], samples: int = SAMPLES_OF_WORDS, seed: int = 0) -> np.ndarray:
    """Score a line by how quickly random cuts isolate the rarity of its rarest word, and of its rarest pair of words."""
    split = [["", *masked(line).split(), ""] for line in lines]
    words, pairs = (Counter(each for line in split for each in part(line)) for part in (iter, pairwise))
    rarities = [(min(words[word] for word in line), min(pairs[pair] for pair in pairwise(line))) for line in split]
    return _isolate(-np.log(rarities), samples, seed)


def _isolate(features: Any, samples: int, seed: int) -> np.ndarray:
    from sklearn.ensemble import IsolationForest  # pyright: ignore[reportMissingImports]

    how: dict[str, Any] = {"n_estimators": TREES, "max_samples": samples, "random_state": seed}
    return -IsolationForest(**how).fit(features).score_samples(features)
