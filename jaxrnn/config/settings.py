"""The settings of a run: one frozen dataclass for each concern; presets are values of it.

The command line is made from these fields: the text under each one is its help, and the first line of each class a heading.
"""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jaxrnn.config.flags import CompilationCache, Flag, Seed, Trust
from jaxrnn.config.plugins import is_import_string
from jaxrnn.data import files, paths
from jaxrnn.errors import InputError

AUTO = "auto"  # a value that is chosen when the run begins
AUTO_VALIDATION = 0.05  # of the text, at most
NAMED = "NAME|MODULE:NAME"  # a known part, or your own, which is imported


@dataclass(frozen=True)
class TextConfig:
    """Text: what is read, and how it is split."""

    text: Annotated[files.Names, Flag("NAME|FILE|FOLDER|-|MODULE:NAME ...")] = "comedie"
    """comedie (comes with the package), moliere or shakespeare (downloaded once), text files, also compressed ones (.gz, .bz2,
    .xz), folders of them, patterns, - (standard input), or synthetic:NAME, a source of known entropy: reber, embedded-reber,
    add, copy, anbn, hmm or pcfg. Several are joined; each is a document."""
    encoding: str = "utf-8"
    """Encoding of the files, under the name that Python gives it."""
    separator: Annotated[str, Flag("TEXT", default="each file is one document")] = ""
    """What stands between documents, such as ===== or <end>; it is removed, with the newline after it. A newline in it is typed
    as backslash and n; with one before and after it, the separator must be a whole line. If there are several documents, the
    parts of the text consist of whole ones."""
    reset: bool = True
    """Carry the state on from one document to the next, instead of starting each anew."""
    max_characters: int = 50_000
    """Number of characters to use, from the beginning of the text; 0 = all."""
    validation_fraction: float | Literal["auto"] = 0.0
    """Fraction of the text for validation, which is never trained on; auto = 0.05, at most 30,000 characters."""
    validation_pieces: int | Literal["auto"] = 1
    """Number of pieces of the validation part, spread evenly over the text before the held-out part, so that the network also
    trains on what comes just before the test; 1 = one piece, just before the held-out part; auto = 6, fewer in a short text."""
    heldout_fraction: float = 0.1
    """Fraction at the end of the text for the final test; never used for training or model selection. 0 = no test."""
    rare_threshold: int = 0
    """Characters that occur fewer times than this in the training part share one symbol; 0 = each has its own."""


@dataclass(frozen=True)
class ModelConfig:
    """Network: cells, layers and initial weights."""

    cell: Annotated[str, Flag(NAMED)] = "elman"
    """Recurrent cell. elman: simple RNN (Elman, 1990). leaky: leaky units. indrnn, lru: diagonal recurrence, which makes exact
    gradients cheap; lru is linear. gru, lstm: gated cells, which remember for longer."""
    hidden_size: int | Literal["auto"] = 128
    """Hidden units per layer; auto = 256; a run of three minutes or more on a million characters or more measures 256,
    384 and 512, and takes the one that promises the lowest loss."""
    num_layers: int = 1
    """Number of recurrent layers, each reading the one below."""
    embedding_size: int = 0
    """Size of the learned character embedding; 0 = one-hot input."""
    tied_readout: bool = False
    """Use the embedding's weights in the readout, too; --embedding-size must equal --hidden-size."""
    activation: Literal["sigmoid", "tanh", "relu"] = "sigmoid"
    """Activation of elman, leaky and indrnn units; at one character per update only sigmoid trains well."""
    leak: float = 0.5
    """Fraction of its state that a leaky unit replaces at each character."""
    initialisation: Literal["pytorch", "mikolov", "orthogonal"] = "pytorch"
    """Initial weights. pytorch: uniform within 1/sqrt(fan-in), with biases. mikolov: normal with standard deviation 0.1, no
    biases. orthogonal: orthogonal recurrent weights, zero biases."""


@dataclass(frozen=True)
class LearningConfig:
    """Learning: gradients, updates and their schedule."""

    epochs: int = 10
    """Maximum number of passes over the training text."""
    minutes: float = 0.0
    """Time budget for the run, the final test included, instead of a number of epochs: the speed is measured and the run
    planned to end on time. 0 = no budget."""
    rule: Annotated[str, Flag(NAMED)] = "one_step"
    """How the gradient is computed. one_step: from one character. bptt: through a block of --rule-length characters, with one
    update per block and the state carried over to the next. The others update after each character. tbptt_sliding: through the
    last --rule-length characters. rtrl: through all characters so far, exactly, at a high cost in time and memory.
    rtrl_diagonal: the same, cheaply, for indrnn and lru. snap1 (SnAp-1): through each unit's own past. snap_n (SnAp-n):
    through what a weight can influence within --rule-length steps. snap1_lookahead, snap_n_lookahead: the same, after one exact
    step back. rflo: through the memory of leaky and gated units. eprop: the same; from Python also with random feedback.
    uoro: an unbiased, noisy estimate of rtrl. rtrl_kronecker: a less noisy estimate, for elman, leaky, gru and lstm."""
    rule_length: int = 1
    """Characters per block of bptt or in the window of tbptt_sliding; steps of snap_n and snap_n_lookahead."""
    optimizer: Annotated[str, Flag(NAMED)] = "sgd"
    """Optimizer: sgd, momentum, adam, adamw or rmsprop."""
    learning_rate: float | Literal["auto"] = AUTO
    """Learning rate; auto = one that suits the optimizer, the cell and the rule (0.1 for notebook)."""
    weight_decay: float | Literal["auto"] = 0.0
    """Weight decay of adamw: each update shrinks the weights by this times the learning rate; auto = 0.1 for updates of 2,048
    characters or more, proportionally less for smaller ones."""
    dropout: float | Literal["auto"] = 0.0
    """Fraction of hidden units to drop, drawn anew for each character; auto = 0.4 for a text of under 500,000 characters, 0 for
    a longer one."""
    schedule: Literal["constant", "halving", "cosine"] = "constant"
    """Learning-rate schedule. halving: from the first epoch that improves the validation loss by less than 0.3 %, halve the
    rate after each epoch; stop at the second such epoch. cosine: warm up for 100 updates, then decay to zero at the end of the
    run, which comes early after three epochs without a lower validation loss."""
    num_streams: int = 1
    """Parallel text streams (batch size). Gradients are averaged, so there are N times fewer updates."""
    counts: bool = False
    """Also count which characters follow each context, and mix counts and network as they read; the online loss is that of the
    mixture. Only for a text that is read once (--epochs 1), in one stream (--num-streams 1)."""
    replay: int = 0
    """With --counts: number of earlier passages, of 64 characters each, from which each update also learns; 0 = none."""
    clip_norm: float = 0.0
    """Clip gradients to this norm; 0 = no clipping. At one character per update, a norm of 1 is too low and raises the loss."""


@dataclass(frozen=True)
class EvaluationConfig:
    """Evaluation: learning during the final test."""

    dynamic: Literal["fixed", "auto"] = "fixed"
    """Dynamic evaluation: learning goes on during the test. fixed: with the next three settings. auto: with what does best on
    the validation part: SGD at one of four rates, Adam at one of three, or a mixture of all rates of either."""
    dynamic_optimizer: Annotated[str, Flag(NAMED)] = "sgd"
    """Optimizer of dynamic evaluation; the choices are those of --optimizer."""
    dynamic_rate: float = 0.1
    """Learning rate of dynamic evaluation."""
    dynamic_length: int = 1
    """Characters per block of dynamic evaluation; each block is scored, then learned from."""
    test_characters: int | Literal["auto"] = AUTO
    """Number of characters that the final test reads of the held-out part, from its beginning, and of the training part; 0 =
    all. auto = as many as fit into a quarter of --minutes or, without --minutes, into a tenth of the training time (at least
    10 seconds). The table of results says how many were read, if not all."""


@dataclass(frozen=True)
class DeviceConfig:
    """Devices: where the run is computed."""

    num_devices: int = 0
    """Total number of devices (GPUs, TPU cores, CPU cores) of all processes, over which the streams are split evenly; 0 = as
    many as speed up training."""
    precision: Literal["auto", "float32", "bfloat16", "tensorfloat32"] = AUTO
    """Precision to which the factors of matrix products are rounded in training; weights, states, sums and tests are always
    float32. auto = float32, unless the rule learns in blocks of 4 or more streams: then bfloat16 on a CPU that multiplies it in
    hardware, and tensorfloat32 on an NVIDIA GPU."""
    coordinator: Annotated[str, Flag("HOST:PORT|auto", default="a single process")] = ""
    """Address of the first of several processes; auto = found in the cluster's environment."""
    num_processes: Annotated[int, Flag(default="found in the cluster's environment")] = 0
    """Number of processes; needed with --coordinator HOST:PORT."""
    process_id: Annotated[int, Flag(default="found in the cluster's environment")] = -1
    """Index of this process, from 0; needed with --coordinator HOST:PORT."""


@dataclass(frozen=True)
class RunConfig:
    """Run: where it starts, is saved and shown."""

    run_dir: Annotated[str, Flag("FOLDER", default="runs/PRESET-TEXT-SEED")] = ""
    """Folder of the new run, which must not hold a run yet; if the default name is taken, a number is added to it."""
    resume: Annotated[str, Flag("RUN|auto", default="a new run")] = ""
    """Resume this run exactly where it stopped; auto = the run with these settings and this text, or a new one."""
    init_from: Annotated[str, Flag("RUN|FILE", default="random weights")] = ""
    """Start a new run from the weights of a run, or of a file made by jaxrnn.export. Without a preset the new run also takes
    over learning and evaluation settings, except --minutes and the learning rate, which is chosen again."""
    trust: Trust = ""
    seed: Seed = 0
    updates_per_call: int = 10_000
    """Updates per call of the compiled loop; 1 = a plain Python loop."""
    sample_length: int = 200
    """Characters to sample after each epoch; 0 = none."""
    log: Literal["none", "tensorboard"] = "none"
    """Write the metrics for another program, too. tensorboard: as an event file in the run's folder `tensorboard`, for
    tensorboard --logdir RUN; needs pip install 'jaxrnn[tensorboard]'."""
    save_every_seconds: float = 60.0
    """Seconds between checkpoints within an epoch; one is also saved after each epoch, and when the run is stopped."""
    keep_checkpoints: int = 3
    """Number of checkpoints to keep, the newest ones; each also holds the best weights so far."""
    on_divergence: Literal["rollback", "stop"] = "rollback"
    """What to do if the loss diverges. rollback: return to the last checkpoint and halve the learning rate, at most 5 times.
    stop: end the run."""
    compilation_cache: CompilationCache = True


@dataclass(frozen=True)
class Config:
    """All settings of a run."""

    text: TextConfig = field(default_factory=TextConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    learning: LearningConfig = field(default_factory=LearningConfig)
    evaluation: EvaluationConfig = field(default_factory=EvaluationConfig)
    device: DeviceConfig = field(default_factory=DeviceConfig)
    run: RunConfig = field(default_factory=RunConfig)


# The practical choice for your own text: gates, blocks, many streams, and regularisation that depends on the text's size.
GATED = Config(
    text=TextConfig(max_characters=0, validation_fraction=AUTO, validation_pieces=AUTO),
    model=ModelConfig(cell="gru", hidden_size=AUTO, embedding_size=64, initialisation="orthogonal"),
    learning=LearningConfig(
        rule="bptt",
        rule_length=64,
        optimizer="adamw",
        weight_decay=AUTO,
        schedule="cosine",
        num_streams=32,
        dropout=AUTO,
        clip_norm=1.0,  # no tuning needed: the gradient is that of a whole block
    ),
    evaluation=EvaluationConfig(dynamic="auto", dynamic_length=16),
)
# For a text that is read once: network and counts learn all the time, and the online loss is the result.
READER = Config(
    text=TextConfig(max_characters=0, heldout_fraction=0.0),
    model=ModelConfig(cell="lstm", hidden_size=AUTO, embedding_size=64, initialisation="orthogonal"),
    learning=LearningConfig(epochs=1, rule="bptt", rule_length=16, optimizer="adam", counts=True, clip_norm=1.0),
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
    "reader": READER,
}


DEFAULT_PRESET = "notebook"


def portable(config: Config) -> Config:
    """Return the settings to save: absolute paths, and nothing about this process."""
    source = config.run.init_from
    run = dataclasses.replace(config.run, run_dir="", resume="", trust="", init_from=_absolute(source) if source else "")
    device = dataclasses.replace(config.device, coordinator="", num_processes=0, process_id=-1)
    names = files.as_names(name if _is_no_path(name) else _absolute(name) for name in files.as_tuple(config.text.text))
    text = dataclasses.replace(config.text, text=names)
    return dataclasses.replace(config, text=text, device=device, run=run)


def _is_no_path(name: str) -> bool:
    return name in (*files.TEXT_NAMES, files.STDIN) or is_import_string(name)


def _absolute(path: str) -> str:
    return str(paths.expand_home(path).absolute())


def resolved_rate(config: Config) -> float:
    """Return the learning rate; it must be resolved."""
    return resolved(config.learning.learning_rate)


def resolved_dropout(config: Config) -> float:
    """Return the dropout; it must be resolved."""
    return resolved(config.learning.dropout)


def resolved_weight_decay(config: Config) -> float:
    """Return the weight decay; it must be resolved."""
    return resolved(config.learning.weight_decay)


def resolved(value: int | float | str) -> Any:
    """Return a value that may have been `auto`; `InputError` if it still is."""
    if isinstance(value, str):
        raise InputError(f"a value is {value!r}; resolve it first (`auto.resolve_auto`)")
    return value
