"""The settings of a run: one frozen dataclass for each concern; presets are values of it.

`tyro` makes the command line from these fields, and the text under each field is its help.
"""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import tyro

from jaxrnn.data import paths
from jaxrnn.data.text import TEXT_NAMES
from jaxrnn.errors import InputError

AUTO = "auto"  # a value that is chosen when the run begins
AUTO_VALIDATION = 0.05  # of the text, at most


@dataclass(frozen=True)
class TextConfig:
    """What is read."""

    text: str = "comedie"
    """What is read: comedie (comes with the package), moliere, shakespeare (downloaded once), the path of a UTF-8 file; or
    synthetic:NAME, whose lowest possible loss is known: reber, embedded-reber, add, copy, anbn, hmm or pcfg."""
    max_characters: int = 50_000
    """Characters of it that are used, from its beginning; 0 = all."""
    validation_fraction: float | Literal["auto"] = 0.0
    """Part of the text, before the held-out part, that choices are made on; auto = 0.05, at most 30,000 characters."""
    heldout_fraction: float = 0.1
    """Part at the end of the text that is never trained on, nor used for model selection."""
    rare_threshold: int = 0
    """Characters seen fewer times than this in the training part share one place in the network; 0 = each has its own."""


@dataclass(frozen=True)
class ModelConfig:
    """What reads it."""

    cell: Literal["elman", "leaky", "indrnn", "gru", "lstm", "lru"] = "elman"
    """Kind of the hidden units: elman: of 1990. leaky: they keep a part of their state. indrnn, lru: each reaches itself alone,
    lru without a bend, so that exact gradients are cheap. gru, lstm: with gates, which remember more."""
    hidden_size: int | Literal["auto"] = 128
    """Hidden units in each layer; auto = 256, or 384 where there is time and text for them."""
    num_layers: int = 1
    """Layers of hidden units, each reading the one below."""
    embedding_size: int = 0
    """Size of the learned vector that stands for a character; 0 = one-hot characters."""
    tied_readout: bool = False
    """The readout's weights are those of the embedding, which must be as wide as the hidden layer."""
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    """Activation of elman, leaky and indrnn units. sigmoid is the one that trains well at one character per update."""
    leak: float = 0.5
    """Part of its state that a leaky unit replaces at each character."""
    initialisation: Literal["pytorch", "mikolov", "orthogonal"] = "pytorch"
    """pytorch: uniform within 1/sqrt(fan-in), with biases. mikolov: normal with standard deviation 0.1, no biases.
    orthogonal: recurrent weights that keep the length of a state, biases 0."""


@dataclass(frozen=True)
class LearningConfig:
    """How it learns."""

    epochs: int = 10
    """Readings of the training text, at most."""
    minutes: float = 0.0
    """Time for training, instead of a number of epochs: the speed is measured, and the run planned to end on time;
    0 = as many epochs as --epochs says."""
    rule: Literal["one_step", "bptt", "tbptt_sliding", "rtrl", "rtrl_diagonal", "snap1", "snap_n", "rflo", "uoro"] = "one_step"
    """How a gradient is obtained. one_step: from one character. bptt: from a block of --rule-length characters, the state
    carried on from block to block, an update after each block. All others look back at each character, and update after it:
    tbptt_sliding: at the last --rule-length characters. rtrl: at all of them, exactly, in far more time and memory; exactly and
    cheaply rtrl_diagonal, for indrnn and lru units. snap1: one exact step back, then through each unit by itself. snap_n: one
    exact step back, then where a weight reaches within --rule-length steps; both share the mask, not the gradient, of SnAp by
    Menick et al. rflo: through what units keep. uoro: as rtrl in the mean, with much noise."""
    rule_length: int = 1
    """Characters in a block of bptt, in the window of tbptt_sliding; steps of snap_n."""
    optimizer: Literal["sgd", "momentum", "adam", "adamw", "rmsprop"] = "sgd"
    """What makes an update of a gradient."""
    learning_rate: float | Literal["auto"] = AUTO
    """Step size of the optimizer; auto = one that suits it, the cell and the rule: 0.1 for the course's network."""
    weight_decay: float = 0.0
    """Weight decay of adamw: the part of the weights that each update takes away, times the rate."""
    dropout: float | Literal["auto"] = 0.0
    """Part of the hidden units that is left out, drawn anew for each character; auto = the less the more text there is."""
    schedule: Literal["constant", "halving", "cosine"] = "constant"
    """halving: from the first epoch on that gains under 0.3 % in validation, halve after each; stop at the second. cosine: up
    during the first 100 updates, then down to nothing at the end of the run."""
    num_streams: int = 1
    """Equal parts of the text that are read side by side, their gradients averaged: as many times fewer updates."""
    clip_norm: float = 0.0
    """Longer gradients are shortened to this norm; 0 = none is. At one character per update, 1 is too little: it costs loss."""


@dataclass(frozen=True)
class EvaluationConfig:
    """How it is tested."""

    dynamic: Literal["fixed", "auto"] = "fixed"
    """Dynamic evaluation, in which the model goes on learning while it is tested. fixed: as the next three flags say. auto: the
    optimizer and rate, or mixture of several rates, that do best on the validation part."""
    dynamic_optimizer: Literal["sgd", "momentum", "adam", "adamw", "rmsprop"] = "sgd"
    """What makes an update while it is tested."""
    dynamic_rate: float = 0.1
    """Step size while it is tested."""
    dynamic_length: int = 1
    """Characters in a block: each is scored, then learned from."""


@dataclass(frozen=True)
class DeviceConfig:
    """On what it is computed."""

    num_devices: int = 0
    """Devices (GPUs, TPU cores, CPU cores) that share the streams out, of all processes together; 0 = as many as gain."""
    precision: Literal["float32", "tensorfloat32", "bfloat16"] = "float32"
    """Precision of the factors of a product, on a GPU or TPU: fewer bits are faster. A CPU has float32 only."""
    coordinator: Annotated[str, tyro.conf.arg(metavar="HOST:PORT|auto", help_behavior_hint="(default: a single process)")] = ""
    """Where the first of several processes is found by the others; auto = as the cluster's environment says."""
    num_processes: int = 0
    """How many there are."""
    process_id: int = -1
    """Which one this is, from 0."""


@dataclass(frozen=True)
class RunConfig:
    """Where the run goes, and how it is carried out."""

    run_dir: Annotated[str, tyro.conf.arg(help_behavior_hint="(default: runs/PRESET-TEXT-SEED)")] = ""
    """Folder of the run, which must not hold one yet; the default name gets a number when it is taken."""
    resume: Annotated[str, tyro.conf.arg(metavar="RUN|auto", help_behavior_hint="(default: a new run)")] = ""
    """Folder of a run to resume exactly where it stopped; auto = the run with these settings and this text, or a new one."""
    init_from: Annotated[str, tyro.conf.arg(metavar="RUN|FILE", help_behavior_hint="(default: random weights)")] = ""
    """Folder of a run, or file made by jaxrnn.export, whose weights a new run starts from. Where no preset is named, it also
    learns and is tested as that run, but for --minutes and a rate that is chosen anew."""
    seed: int = 0
    """Seed of all random numbers: initial weights, initial states, samples."""
    updates_per_call: int = 10_000
    """Updates inside one call of the compiled loop; 1 = a plain Python loop of one call for each update."""
    sample_length: int = 200
    """Characters of the sample after each epoch; 0 = none."""
    save_every_seconds: float = 60.0
    """Seconds between two checkpoints inside an epoch; there is one after each epoch, too, and one when the run is stopped."""
    keep_checkpoints: int = 3
    """Checkpoints kept, the newest ones; each holds the best weights so far, too."""
    on_divergence: Literal["rollback", "stop"] = "rollback"
    """When the loss explodes. rollback: go back to the last checkpoint, halve the rate, 5 times at most. stop: end the run."""
    compilation_cache: bool = True
    """Disable the on-disk cache of compiled programs, which makes the next start quick."""


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    text: Annotated[TextConfig, tyro.conf.arg(name="")] = field(default_factory=TextConfig)
    model: Annotated[ModelConfig, tyro.conf.arg(name="")] = field(default_factory=ModelConfig)
    learning: Annotated[LearningConfig, tyro.conf.arg(name="")] = field(default_factory=LearningConfig)
    evaluation: Annotated[EvaluationConfig, tyro.conf.arg(name="")] = field(default_factory=EvaluationConfig)
    device: Annotated[DeviceConfig, tyro.conf.arg(name="")] = field(default_factory=DeviceConfig)
    run: Annotated[RunConfig, tyro.conf.arg(name="")] = field(default_factory=RunConfig)


# The practical choice for a text of one's own: gates, blocks, many streams, and regularised by the size of the text.
GATED = Config(
    text=TextConfig(max_characters=0, validation_fraction=AUTO),
    model=ModelConfig(cell="gru", hidden_size=AUTO, embedding_size=64, initialisation="orthogonal"),
    learning=LearningConfig(
        rule="bptt",
        rule_length=64,
        optimizer="adamw",
        schedule="cosine",
        num_streams=32,
        dropout=AUTO,
        clip_norm=1.0,  # of a whole block: it costs no calibration there
    ),
    evaluation=EvaluationConfig(dynamic="auto", dynamic_length=16),
)
PRESETS: dict[str, Config] = {
    # The course: the first 50,000 characters, 90 % to train, ten epochs at one rate.
    "notebook": Config(),
    # The paper: its initial values, no biases, and a schedule steered by a validation part.
    "mikolov2010": Config(
        text=TextConfig(validation_fraction=0.05, heldout_fraction=0.05),
        model=ModelConfig(initialisation="mikolov"),
        learning=LearningConfig(epochs=100, schedule="halving"),  # a limit that the schedule does not reach
    ),
    "gru": GATED,
    "lstm": dataclasses.replace(GATED, model=dataclasses.replace(GATED.model, cell="lstm")),
}


def portable(config: Config) -> Config:
    """The settings as they are saved: files named in a way that holds in every folder; without where this process is."""
    text, source = config.text.text, config.run.init_from
    run = dataclasses.replace(config.run, run_dir="", resume="", init_from=_absolute(source) if source else "")
    device = dataclasses.replace(config.device, coordinator="", num_processes=0, process_id=-1)
    kept_text = dataclasses.replace(config.text, text=text if text in TEXT_NAMES else _absolute(text))
    return dataclasses.replace(config, text=kept_text, device=device, run=run)


def _absolute(path: str) -> str:
    return str(paths.expand_home(path).absolute())


def learning_rate(config: Config) -> float:
    """The learning rate, once it is chosen."""
    return resolved(config.learning.learning_rate)


def characters_per_update(config: Config) -> int:
    """Characters of each stream that one update reads."""
    return config.learning.rule_length if config.learning.rule == "bptt" else 1


def dropout_rate(config: Config) -> float:
    """The dropout, once it is chosen."""
    return resolved(config.learning.dropout)


def resolved(value: int | float | str) -> Any:
    """A value that may have been left to choose, once it is chosen."""
    if isinstance(value, str):
        raise InputError(f"a value is {value!r}, and must be chosen first")
    return value


def config_to_json(config: Config) -> dict[str, dict[str, Any]]:
    """Plain dicts; `config_from_json` is the exact inverse."""
    return dataclasses.asdict(config)


def config_from_json(settings: Mapping[str, Mapping[str, Any]]) -> Config:
    """The settings of a saved run. One that it does not have yet is at its default, which does what was done before.

    Raises:
      InputError: one has a name that this version does not know.
    """
    parts = {
        "text": TextConfig,
        "model": ModelConfig,
        "learning": LearningConfig,
        "evaluation": EvaluationConfig,
        "device": DeviceConfig,
        "run": RunConfig,
    }
    for name, values in settings.items():
        unknown = set(values) - {field.name for field in dataclasses.fields(parts[name])} if name in parts else {name}
        if unknown:
            raise InputError(f"its settings hold {sorted(unknown)[0]!r}, which this version does not know")
    return Config(**{name: part(**settings.get(name, {})) for name, part in parts.items()})
