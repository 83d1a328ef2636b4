"""Test a model on the parts of the text that it was trained on."""

from jaxrnn.array_types import Params
from jaxrnn.config import build, parts
from jaxrnn.config.build import Data
from jaxrnn.config.settings import AUTO, Config
from jaxrnn.data import automaton
from jaxrnn.errors import InputError
from jaxrnn.models.model import Model
from jaxrnn.scoring.evaluation import DynamicSettings, choose_dynamic, dynamic_evaluation, frozen_evaluation, mean_nats


def resolve_dynamic(config: Config, data: Data | None, model: Model, params: Params) -> DynamicSettings:
    """Resolve the settings of dynamic evaluation: `auto` is chosen on the validation part."""
    settings = config.evaluation
    if settings.dynamic != AUTO:
        return DynamicSettings(settings.dynamic_optimizer, (settings.dynamic_rate,), settings.dynamic_length)
    if data is None or not data.validation.size:
        raise InputError("--dynamic auto chooses on the validation part of the run's text, and it has none; give a rate")
    key = build.make_keys(config.run.seed).evaluation
    return choose_dynamic(model, params, data.validation, key, settings.dynamic_length)[0]


def three_numbers(config: Config, data: Data, model: Model, params: Params, how: DynamicSettings) -> dict[str, float]:
    """Nats per character of the run's own text: training part frozen, held-out part frozen, held-out part dynamic."""
    key = build.make_keys(config.run.seed).evaluation
    dynamic = dynamic_evaluation(model, how, parts.find_optimizer(how.optimizer))
    return {
        "train_nats": mean_nats(frozen_evaluation(model, config.learning.num_streams)(params, data.train, key)),
        "heldout_nats": mean_nats(frozen_evaluation(model)(params, data.heldout, key)),
        "heldout_dynamic_nats": mean_nats(dynamic(params, data.heldout, key)),
    }


def source_nats(data: Data) -> float | None:
    """Nats per character of the source itself on the held-out part of its text; None if the text has no known source."""
    if data.text is None or data.source is None:
        return None
    losses = automaton.source_losses(data.source, data.text)
    return mean_nats(losses[len(losses) - len(data.heldout) + 1 :])
