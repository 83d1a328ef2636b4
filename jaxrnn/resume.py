"""Going on with a run: which one, and whether what is asked for now is what was begun."""

import contextlib
import dataclasses
import re
from pathlib import Path

from jaxrnn import config as configs
from jaxrnn import folder, manifest
from jaxrnn.build import Data
from jaxrnn.checkpoint import Run
from jaxrnn.config import Config
from jaxrnn.errors import InputError
from jaxrnn.suitable import HIDDEN_SIZES, suitable_rate
from jaxrnn.text import NAMES

# What may be another value than at the start, because no number depends on it (on that of devices, the last digits).
FREE = {"run_dir", "resume", "save_every_seconds", "keep_checkpoints", "on_divergence", "compilation_cache", "num_devices"}


def find(preset: str, config: Config) -> Path | None:
    """The folder of the run to go on with; None if `auto` was said and there is none with these settings yet.

    Raises:
      InputError: the folder that was named holds no run.
    """
    if config.run.resume != configs.AUTO:
        if config.run.run_dir:
            raise InputError("--run-dir goes with --resume auto, or with a new run; --resume RUN names the folder itself")
        path = Path(config.run.resume)
        if not folder.holds_run(path):
            raise InputError(f"no run in {str(path)!r}{_why_none(path)}; --resume takes the folder of a run, or auto")
        return path
    if config.run.run_dir:
        path = Path(config.run.run_dir)
        return path if folder.holds_run(path) else None
    first = folder.default_name(preset, config)
    numbered = re.compile(re.escape(first.name) + r"(-\d+)?")
    named = [path for path in first.parent.glob("*") if numbered.fullmatch(path.name)]
    return max((path for path in named if folder.holds_run(path) and _fits(config, path)), key=_begun, default=None)


def _why_none(path: Path) -> str:
    with contextlib.suppress(OSError):  # a name that no file can have
        if (path / folder.CONFIG).is_file():
            return f": its {folder.CONFIG} does not hold the settings of a run"
    return ""


def _fits(config: Config, path: Path) -> bool:
    """Whether these are the settings of the run, as far as that can be seen without reading a checkpoint."""
    try:
        begun = folder.read_config(path)
    except InputError:  # going on with it will tell
        return True
    if config.run.init_from:  # the network is then that of the weights
        config = dataclasses.replace(config, model=begun.model)
    try:
        check_settings(with_chosen(with_epochs_wanted(configs.to_keep(config), path), begun), begun, path)
    except InputError:
        return False
    return True


def settings_of(run_dir: Path, otherwise: Config) -> Config:
    """Those in the folder of the run, as far as they can be read."""
    try:
        return folder.read_config(run_dir)
    except InputError:  # going on with it will tell
        return otherwise


def _begun(path: Path) -> float:
    config = path / folder.CONFIG
    return (config if config.exists() else path).stat().st_mtime


def check_settings(wanted: Config, saved: Config, run_dir: Path) -> None:
    """Raises `InputError`, naming the flag, if a setting differs on which it depends what the run writes."""
    for part in dataclasses.fields(Config):
        now, then = vars(getattr(wanted, part.name)), vars(getattr(saved, part.name))
        for name in now:
            if now[name] != then[name] and not _may_differ(name, now[name], then[name]):
                flag = name.replace("_", "-")
                begun = "without" if then[name] == "" else f"with {then[name]!r}"
                raise InputError(
                    f"--{flag} is {now[name]!r}, and the run in {str(run_dir)!r} was begun {begun}; what it writes depends on "
                    "that: leave the flag out, or begin a new run"
                )
    if wanted.learning.epochs != saved.learning.epochs and saved.learning.schedule == "cosine":
        raise InputError(
            f"--epochs is {wanted.learning.epochs}, but the rate of the run in {str(run_dir)!r} falls to nothing at the end of "
            f"epoch {saved.learning.epochs}; start a new run from its weights: --init-from {run_dir}"
        )
    if wanted.learning.epochs < saved.learning.epochs:
        epochs = f"{wanted.learning.epochs} are fewer than the {saved.learning.epochs} of the run in {str(run_dir)!r}"
        raise InputError(f"--epochs may grow, but {epochs}")


def with_chosen(settings: Config, begun: Config) -> Config:
    """These settings without `auto`: the rate that suits them, all else as the run has it, if `auto` may have given that."""
    text, model, learning = settings.text, settings.model, settings.learning
    validation, hidden_size = text.validation_fraction, model.hidden_size
    if hidden_size == configs.AUTO and begun.model.hidden_size in HIDDEN_SIZES:
        hidden_size = begun.model.hidden_size
    if isinstance(validation, str) and 0 < configs.number(begun.text.validation_fraction) <= configs.AUTO_VALIDATION:
        validation = begun.text.validation_fraction
    rate = suitable_rate(settings) if learning.learning_rate == configs.AUTO else learning.learning_rate
    dropout = begun.learning.dropout if learning.dropout == configs.AUTO else learning.dropout
    return dataclasses.replace(
        settings,
        text=dataclasses.replace(text, validation_fraction=validation),
        model=dataclasses.replace(model, hidden_size=hidden_size),
        learning=dataclasses.replace(learning, learning_rate=rate, dropout=dropout),
        device=dataclasses.replace(settings.device, num_devices=settings.device.num_devices or begun.device.num_devices),
    )


def with_epochs_wanted(settings: Config, run_dir: Path) -> Config:
    """These settings, with as many epochs at least as were asked for when the run was last gone on with."""
    epochs = max(settings_of(run_dir, settings).learning.epochs, settings.learning.epochs)
    return dataclasses.replace(settings, learning=dataclasses.replace(settings.learning, epochs=epochs))


def check_run(run: Run, data: Data) -> None:
    """Raises `InputError` if the run cannot be gone on with on this text, with this version and its random numbers."""
    if run.about["format"] == 1:
        raise InputError(
            f"the run in {str(run.path)!r} was saved by the first version of jaxrnn and lacks what is needed to go on; "
            f"start a new one from its weights: --init-from {run.path}"
        )
    if run.about["text"]["sha256"] != data.sha256:
        raise InputError(
            f"--text {run.config.text.text!r} is not what it was when the run in {str(run.path)!r} was begun: "
            f"its SHA-256 is {data.sha256[:12]}…, and was {run.about['text']['sha256'][:12]}…"
        )
    if run.about["random_keys"] != manifest.random_keys():
        raise InputError(
            f"the random numbers of the run in {str(run.path)!r} are drawn by {run.about['random_keys']}, and here by "
            f"{manifest.random_keys()}; set JAX's flags as they were"
        )


def other_versions(run: Run) -> str:
    """In words, the packages that are of another version than those that saved the run; "" if none is."""
    then, now = run.about["versions"], manifest.versions()
    return ", ".join(
        f"{package} {then.get(package)} then and {now[package]} now" for package in now if then.get(package) != now[package]
    )


def _may_differ(name: str, now: object, then: object) -> bool:
    # Any two numbers of updates per call give the same bits, but for one, which is another program.
    # A text file may have been moved: its SHA-256 decides whether it is the same.
    moved = name == "text" and now not in NAMES and then not in NAMES
    return name in FREE or name == "epochs" or moved or (name == "updates_per_call" and 1 not in (now, then))
