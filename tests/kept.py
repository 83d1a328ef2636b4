"""What a run compiles, kept for the next run of the same network in the same process: all of it are pure functions.

Tracing and lowering them takes more than half of the time of a run as small as those of the tests.
"""

import functools

from jaxrnn.config import build
from jaxrnn.config.trust import imports_of
from jaxrnn.models import documents
from jaxrnn.runs import own_text, task
from jaxrnn.scoring import counting, evaluation, together
from jaxrnn.training import mixed

MOST = 32  # of each kind


def install():
    """Keep models by their settings, and programs by what they are made of."""
    model_of, learner_of = build.build_model, build.build_learner
    keep_model = functools.lru_cache(MOST)(lambda settings, known, config: model_of(config.value, known))
    keep_learner = functools.lru_cache(MOST)(lambda key, model, rest, config: learner_of(config.value, model, *rest))

    def build_model(config, vocabulary):
        if imports_of(config):  # a test may change what is imported
            return model_of(config, vocabulary)
        return keep_model(config.model, vocabulary, _Unlike(config))

    def build_learner(config, model, *rest):
        if imports_of(config):
            return learner_of(config, model, *rest)
        return keep_learner((config.learning, config.device.precision), model, rest, _Unlike(config))

    build.build_model, build.build_learner = build_model, build_learner
    for module, names in {
        documents: ["with_documents"],
        task: ["make_driver", "make_restart"],
        evaluation: ["reader", "fast_driver", "frozen_evaluation", "rate_evaluation"],
        mixed: ["mixed", "make_mixture"],
        own_text: ["make_mixture", "mixed_model"],
        counting: ["make_counts", "make_counter", "fast_driver"],
        together: ["make_reader", "fast_driver"],
    }.items():
        for name in names:
            setattr(module, name, functools.lru_cache(MOST)(getattr(module, name)))


class _Unlike:
    """An argument that a cache does not look at."""

    def __init__(self, value):
        self.value = value

    def __eq__(self, other):
        return True

    def __hash__(self):
        return 0
