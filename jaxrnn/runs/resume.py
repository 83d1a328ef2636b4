"""Going on with a run: which one, and whether what is asked for now is what was begun."""

import contextlib
import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

from jaxrnn.config import build, parts
from jaxrnn.config import settings as configs
from jaxrnn.config.plugins import has_import_form
from jaxrnn.config.resolve import Given, resolve
from jaxrnn.config.settings import AUTO, DEFAULT_PRESET, Config, LearningConfig
from jaxrnn.config.trust import Untrusted, trusted_by
from jaxrnn.data import paths
from jaxrnn.data import text as texts
from jaxrnn.data.text import TEXT_NAMES
from jaxrnn.errors import InputError
from jaxrnn.storage import manifest, store
from jaxrnn.storage import run_folder as folder
from jaxrnn.storage.checkpoint import SavedRun

# What may be another value than at the start, because no number depends on it (on that of devices, the last digits).
FREE = {"run_dir", "resume", "save_every_seconds", "keep_checkpoints", "on_divergence", "compilation_cache", "num_devices"}


def find(given: Given, origin: Config | None) -> Path | None:
    """The folder of the run to resume; None if `auto` was said and there is none with these settings and this text yet.

    Args:
      origin: the settings of the run or file that a new run would start from.
    Raises:
      InputError: the folder that was named holds no run; or the text cannot be read now.
    """
    config = resolve(given, origin=origin)
    if config.run.resume != AUTO:
        if config.run.run_dir:
            raise InputError("--run-dir goes with --resume auto, or with a new run; --resume RUN names the folder itself")
        path = Path(config.run.resume)
        if not folder.holds_run(path):
            raise InputError(f"no run in {str(path)!r}{_why_none(path)}; --resume takes the folder of a run, or auto")
        return path
    if config.run.run_dir:
        path = Path(config.run.run_dir)
        return path if folder.holds_run(path) else None
    first = folder.default_name(given.preset or DEFAULT_PRESET, config)
    numbered = re.compile(re.escape(first.name) + r"(-\d+)?")
    named = [path for path in first.parent.glob("*") if numbered.fullmatch(path.name)]
    fitting = [path for path in named if folder.holds_run(path) and _fits(given, origin, path)]
    return max(_on_same_text(config, fitting, trusted_by(given.values)), key=_begun, default=None)


def _why_none(path: Path) -> str:
    with contextlib.suppress(OSError):  # a name that no file can have
        if (path / folder.CONFIG).is_file():
            return f": its {folder.CONFIG} does not hold the settings of a run"
    return ""


def _fits(given: Given, origin: Config | None, path: Path) -> bool:
    """Whether these are the settings of the run, as far as that can be seen without reading a checkpoint."""
    try:
        begun = folder.read_config(path, trusted_by(given.values))
    except Untrusted:  # it names code that was not typed
        return False
    except InputError:  # resuming it will tell
        return True
    try:
        check_settings(configs.portable(resolve(given, begun, origin)), begun, path)
    except InputError:
        return False
    return True


def _on_same_text(config: Config, runs: list[Path], trust: Sequence[str]) -> list[Path]:
    """Those of the runs that were begun on this very text; one that has saved nothing yet is known by the text's path."""
    if not runs or config.text.text in TEXT_NAMES:  # a text that is known by its name is always the same
        return runs
    sha256 = text_sha256(config)
    path = configs.portable(config).text.text

    def same(run_dir: Path) -> bool:
        saved = saved_sha256(run_dir)
        return settings_of(run_dir, config, trust).text.text == path if saved is None else saved == sha256

    return [run_dir for run_dir in runs if same(run_dir)]


def text_sha256(config: Config) -> str:
    """The digest of the characters that are used."""
    return texts.hash_text(build.read_used_text(config)[1])


def saved_sha256(run_dir: Path) -> str | None:
    """The digest of the run's text, from its newest good checkpoint; None if there is none."""
    saved = (store.read_about(run_dir, number) for number in reversed(store.list_numbers(run_dir)))
    return next((about["text"]["sha256"] for about in saved if about is not None), None)


def settings_of(run_dir: Path, otherwise: Config, trust: Sequence[str] = ()) -> Config:
    """Those in the folder of the run, as far as they can be read; `Untrusted` if they name code that is not trusted."""
    try:
        return folder.read_config(run_dir, trust)
    except Untrusted:
        raise
    except InputError:  # going on with it will tell
        return otherwise


def _begun(path: Path) -> float:
    config = path / folder.CONFIG
    return (config if config.exists() else path).stat().st_mtime


def check_settings(wanted: Config, saved: Config, run_dir: Path, text: str | None = None) -> None:
    """Raises `InputError`, naming the flag, if a setting differs on which it depends what the run writes.

    Args:
      text: as it was typed, to be named so.
    """
    for part in dataclasses.fields(Config):
        now, then = vars(getattr(wanted, part.name)), vars(getattr(saved, part.name))
        for name in now:
            if now[name] != then[name] and not _may_differ(name, now[name], then[name]):
                flag = name.replace("_", "-")
                begun = "without" if then[name] == "" else f"with {then[name]!r}"
                given = text if name == "text" and text is not None else now[name]
                raise InputError(
                    f"--{flag} is {given!r}, and the run in {str(run_dir)!r} was begun {begun}; what it writes depends on "
                    "that: leave the flag out, or begin a new run"
                )
    check_longer(wanted, saved, schedule_finished=False, run_dir=run_dir)
    if wanted.learning.epochs < saved.learning.epochs:
        raise InputError(
            f"--epochs is {wanted.learning.epochs}, but the run in {str(run_dir)!r} was begun with {saved.learning.epochs}; "
            "it may only grow"
        )


def check_longer(wanted: Config, saved: Config, schedule_finished: bool, run_dir: Path) -> None:
    """Raises `InputError` if more epochs are wanted, and the run cannot take them."""
    why = why_not_longer(saved.learning, schedule_finished)
    if why and wanted.learning.epochs > saved.learning.epochs:
        raise InputError(
            f"--epochs is {wanted.learning.epochs}, but the run in {str(run_dir)!r} takes no more: {why}; "
            f"{new_from_weights(run_dir)}"
        )


def why_not_longer(learning: LearningConfig, schedule_finished: bool) -> str:
    """Why a run takes no more epochs than it was begun with; "" if it does."""
    if learning.minutes:
        return f"it was planned to end after {learning.minutes:g} minutes"
    if learning.schedule == "cosine":
        return f"its rate falls to nothing at the end of epoch {learning.epochs}"
    return "its schedule has ended, as the validation loss no longer improved" if schedule_finished else ""


def more_in_words(learning: LearningConfig, schedule_finished: bool, run_dir: Path) -> str:
    """What can be typed to learn more after the end of a run."""
    why = why_not_longer(learning, schedule_finished)
    return f"{why}; {new_from_weights(run_dir)}" if why else "--epochs takes more"


def new_from_weights(run_dir: Path) -> str:
    """How a run's weights are learned on."""
    return f"start a new run from its weights: --init-from {paths.quote_path(run_dir)}"


def with_epochs_wanted(settings: Config, run_dir: Path, trust: Sequence[str] = ()) -> Config:
    """These settings, with as many epochs at least as were asked for when the run was last gone on with."""
    epochs = max(settings_of(run_dir, settings, trust).learning.epochs, settings.learning.epochs)
    return dataclasses.replace(settings, learning=dataclasses.replace(settings.learning, epochs=epochs))


def check_text(run: SavedRun, config: Config) -> None:
    """Raises `InputError` unless the text is the one that the run was begun on.

    Args:
      config: with the text as it was typed, or else as the run has it.
    """
    name, run_dir, moved = config.text.text, run.path, configs.portable(config).text.text != run.config.text.text
    if not moved and not (parts.is_own_text(name) or texts.text_exists(name)):
        raise InputError(
            f"the text of the run in {str(run_dir)!r} is no longer at {name!r}; if it was moved, add its new path: "
            f"--resume {paths.quote_path(run_dir)} --text PATH"
        )
    then, now = run.about["text"]["sha256"], text_sha256(config)
    if then == now:
        return
    digests = f"its SHA-256 is {now[:12]}…, and was {then[:12]}…"
    new_run = f"--init-from {paths.quote_path(run_dir)} starts a new run on it from the old weights"
    if moved:
        raise InputError(f"--text {name!r} is not the text of the run in {str(run_dir)!r}: {digests}; {new_run}")
    raise InputError(
        f"text {name!r} is not what it was when the run in {str(run_dir)!r} was begun: {digests}; "
        f"name a copy of the old text with --text, or {new_run}"
    )


def check_run(run: SavedRun) -> None:
    """Raises `InputError` if the run cannot be resumed with this version and its random numbers."""
    if run.about["random_keys"] != manifest.describe_random_keys():
        raise InputError(
            f"the random numbers of the run in {str(run.path)!r} are drawn by {run.about['random_keys']}, and here by "
            f"{manifest.describe_random_keys()}; set JAX's flags as they were"
        )


def other_versions(run: SavedRun) -> str:
    """In words, the packages that are of another version than those that saved the run; "" if none is."""
    then, now = run.about["versions"], manifest.package_versions()
    return ", ".join(
        f"{package} {then.get(package)} then and {now[package]} now" for package in now if then.get(package) != now[package]
    )


def _may_differ(name: str, now: object, then: object) -> bool:
    # Any two numbers of updates per call give the same bits, but for one, which is another program.
    # A text file may have been moved: its SHA-256 decides whether it is the same.
    moved = name == "text" and not ({now, then} & set(TEXT_NAMES) or any(has_import_form(str(text)) for text in (now, then)))
    return name in FREE or name == "epochs" or moved or (name == "updates_per_call" and 1 not in (now, then))
