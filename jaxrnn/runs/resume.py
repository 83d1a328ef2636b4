"""Find the run to resume, and check that its settings, text and versions are those it was started with."""

import contextlib
import dataclasses
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from jaxrnn.config import build, parts
from jaxrnn.config.build import UsedText
from jaxrnn.config.plugins import has_import_form
from jaxrnn.config.resolve import CHANGEABLE, Given, resolve, resolve_resumed, values_by_name, with_values
from jaxrnn.config.settings import AUTO, DEFAULT_PRESET, Config, LearningConfig, portable
from jaxrnn.config.trust import Untrusted, trusted_by
from jaxrnn.data import paths
from jaxrnn.data.files import TEXT_NAMES, Names, quote_names
from jaxrnn.errors import InputError
from jaxrnn.storage import logs, manifest, run_folder, store
from jaxrnn.storage.checkpoint import SavedRun

# Settings that may change, because results do not depend on them (the number of devices affects only the last digits).
FREE = {
    "run_dir",
    "resume",
    "test_characters",
    "save_every_seconds",
    "keep_checkpoints",
    "log",
    "on_divergence",
    "compilation_cache",
    "num_devices",
}
NEW_RUN = {"optimizer", "rule", "rule_length", "num_streams", "seed"}  # may differ in a new run from the old weights


def find_resumable(given: Given, origin: Config | None) -> Path | None:
    """Find the run to resume; None if `--resume auto` finds none with these settings and this text.

    Args:
      origin: the settings of the run or file that a new run would start from.
    Raises:
      InputError: the named folder holds no run, or the text cannot be read.
    """
    config = resolve(given, origin=origin)
    if config.run.resume != AUTO:
        if config.run.run_dir:
            raise InputError("--run-dir is for new runs and --resume auto; --resume RUN names the folder itself")
        path = Path(config.run.resume)
        if not run_folder.holds_run(path):
            raise InputError(f"no run in {str(path)!r}{_why_none(path)}; --resume takes the folder of a run, or auto")
        return path
    if config.run.run_dir:
        path = Path(config.run.run_dir)
        return path if run_folder.holds_run(path) else None
    first = run_folder.default_name(given.preset or DEFAULT_PRESET, config)
    numbered = re.compile(re.escape(first.name) + r"(-\d+)?")
    named = [path for path in first.parent.glob("*") if numbered.fullmatch(path.name)]
    fitting = [path for path in named if run_folder.holds_run(path) and _fits(given, origin, path)]
    return max(_on_same_text(config, fitting, trusted_by(given.values)), key=_begun, default=None)


def _why_none(path: Path) -> str:
    with contextlib.suppress(OSError):  # a name that no file can have
        if (path / run_folder.CONFIG).is_file():
            return f": its {run_folder.CONFIG} does not hold the settings of a run"
    return ""


def _fits(given: Given, origin: Config | None, path: Path) -> bool:
    """Return whether the settings match those of a run, according to its config.json."""
    try:
        begun = run_folder.read_config(path, trusted_by(given.values))
    except Untrusted:  # it names code that the user did not ask for
        return False
    except InputError:  # resuming it reports why
        return True
    try:
        check_settings(portable(resolve_resumed(given, begun, logs.read_events(path), origin)), begun, path)
    except InputError:
        return False
    return True


def _on_same_text(config: Config, runs: list[Path], trust: Sequence[str]) -> list[Path]:
    """Select the runs on this text, by its SHA-256, or by its path if a run has no checkpoint yet."""
    if not runs or config.text.text in TEXT_NAMES:  # named texts never change
        forms = [read_run_config(run_dir, config, trust).text for run_dir in runs]
        wanted = (config.text.encoding, config.text.separator)
        return [run_dir for run_dir, form in zip(runs, forms, strict=True) if (form.encoding, form.separator) == wanted]
    sha256 = build.read_used_text(config).coded.sha256
    path = portable(config).text.text

    def same(run_dir: Path) -> bool:
        saved = read_saved_hash(run_dir)
        return read_run_config(run_dir, config, trust).text.text == path if saved is None else saved == sha256

    return [run_dir for run_dir in runs if same(run_dir)]


def read_saved_hash(run_dir: Path) -> str | None:
    """Read the SHA-256 of a run's text from its newest readable checkpoint; None if there is none."""
    saved = (store.read_about(run_dir, number) for number in reversed(store.list_numbers(run_dir)))
    return next((about["text"]["sha256"] for about in saved if about is not None), None)


def read_run_config(run_dir: Path, otherwise: Config, trust: Sequence[str] = ()) -> Config:
    """Read the settings in a run's folder; return `otherwise` if they cannot be read, but raise `Untrusted`."""
    try:
        return run_folder.read_config(run_dir, trust)
    except Untrusted:
        raise
    except InputError:  # resuming it reports why
        return otherwise


def _begun(path: Path) -> float:
    config = path / run_folder.CONFIG
    return (config if config.exists() else path).stat().st_mtime


def check_settings(
    wanted: Config, saved: Config, run_dir: Path, text: Names | None = None, changeable: Collection[str] = ()
) -> None:
    """Raise `InputError`, naming the flag, if a setting differs on which the results of the run depend.

    Args:
      text: the text's name as typed, for the message.
      changeable: names of settings that may differ nevertheless.
    """
    for part in dataclasses.fields(Config):
        now, then = vars(getattr(wanted, part.name)), vars(getattr(saved, part.name))
        for name in now:
            if now[name] != then[name] and name not in changeable and not _may_differ(name, now[name], then[name]):
                flag = name.replace("_", "-")
                begun = "without it" if then[name] == "" else f"with {then[name]!r}"
                given = text if name == "text" and text is not None else now[name]
                raise InputError(
                    f"--{flag} is {given!r}, but the run in {str(run_dir)!r} was started {begun}, and "
                    f"{_explain_refusal(name, run_dir)}"
                )
    check_longer(wanted, saved, schedule_finished=False, run_dir=run_dir)
    now, then = wanted.learning, saved.learning
    fixed = "minutes" not in changeable and (then.minutes or then.schedule == "cosine")
    if now.epochs != then.epochs and fixed:
        raise InputError(
            f"--epochs is {now.epochs}, but the run in {str(run_dir)!r} was started with {then.epochs}, and its length is "
            f"planned; extend it by name: --resume {paths.quote_path(run_dir)}"
        )
    if now.epochs < then.epochs and not then.minutes and now.schedule == then.schedule:
        raise InputError(
            f"--epochs is {now.epochs}, but the run in {str(run_dir)!r} was started with {then.epochs}; "
            "the number of epochs can only grow"
        )


def _explain_refusal(name: str, run_dir: Path) -> str:
    """Say why a setting must stay, and what to do instead."""
    if name in CHANGEABLE:
        change = f"--resume {paths.quote_path(run_dir)} --{name.replace('_', '-')} VALUE"
        return f"results depend on it; leave the flag out, change it by the run's name ({change}), or start a new run"
    if name in NEW_RUN:
        return f"results depend on it; leave the flag out, or {describe_new_run(run_dir)}"
    return "results depend on it; leave the flag out, or start a new run"


def check_longer(wanted: Config, saved: Config, schedule_finished: bool, run_dir: Path) -> None:
    """Raise `InputError` if a run is to read more but its length is fixed."""
    now, then = wanted.learning, saved.learning
    why = explain_fixed_length(then, schedule_finished) if now.schedule == then.schedule else ""
    if why and (now.epochs > then.epochs or now.minutes > then.minutes):
        flag, value = ("minutes", f"{now.minutes:g}") if now.minutes > then.minutes else ("epochs", now.epochs)
        raise InputError(
            f"--{flag} is {value}, but the run in {str(run_dir)!r} cannot be extended: {why}; {_describe_way_on(then, run_dir)}"
        )


def explain_fixed_length(learning: LearningConfig, schedule_finished: bool) -> str:
    """Explain why a run cannot be extended; "" if it can."""
    if schedule_finished and learning.schedule == "halving":
        return "its schedule ended when the validation loss stopped improving"
    return "it reads its text once" if learning.counts else ""


def describe_continuation(learning: LearningConfig, schedule_finished: bool, run_dir: Path) -> str:
    """Say how to continue training after the end of a run."""
    why = explain_fixed_length(learning, schedule_finished)
    if why:
        return f"{why}; {_describe_way_on(learning, run_dir)}"
    cosine = " (with a new cosine)" if learning.schedule == "cosine" else ""
    return f"to continue, set a higher --epochs, or --minutes for as many more{cosine}"


def _describe_way_on(learning: LearningConfig, run_dir: Path) -> str:
    other = ", or continue it at one rate: --schedule constant --minutes M" if learning.schedule == "halving" else ""
    return f"{describe_new_run(run_dir)}{other}"


def describe_new_run(run_dir: Path) -> str:
    """Say how to start a new run from a run's weights."""
    return f"start a new run from its weights: --init-from {paths.quote_path(run_dir)}"


def with_saved_changes(settings: Config, run_dir: Path, trust: Sequence[str] = ()) -> Config:
    """Return a checkpoint's settings with those from config.json that may have changed after the checkpoint was saved."""
    written = values_by_name(read_run_config(run_dir, settings, trust))
    return with_values(settings, {name: written[name] for name in CHANGEABLE})


def read_same_text(run: SavedRun, config: Config) -> UsedText:
    """Read the text with the run's vocabulary; raise `InputError` unless it is the one that the run was started on.

    Args:
      config: names the text, as typed or as saved with the run.
    """
    name, run_dir, moved = config.text.text, run.path, portable(config).text.text != run.config.text.text
    missing = "" if moved else parts.find_missing(name)
    if missing:
        raise InputError(
            f"the text of the run in {str(run_dir)!r} is no longer at {missing!r}; if it was moved, give its new path: "
            f"--resume {paths.quote_path(run_dir)} --text PATH"
        )
    used = build.read_used_text(config, run.vocabulary)
    then, now = run.about["text"]["sha256"], used.coded.sha256
    if then == now:
        return used
    for flag in ("encoding", "separator"):
        typed, begun = getattr(config.text, flag), getattr(run.config.text, flag)
        if typed != begun:
            raise InputError(
                f"with --{flag} {typed!r} instead of {begun!r}, text {quote_names(name)} is not the one of the run in "
                f"{str(run_dir)!r}; leave the flag out"
            )
    digests = f"its SHA-256 is {now[:12]}…, and was {then[:12]}…"
    new_run = f"--init-from {paths.quote_path(run_dir)} starts a new run on it from the old weights"
    if moved:
        raise InputError(f"--text {quote_names(name)} is not the text of the run in {str(run_dir)!r}: {digests}; {new_run}")
    raise InputError(
        f"text {quote_names(name)} has changed since the run in {str(run_dir)!r} was started: {digests}; "
        f"name a copy of the old text with --text, or {new_run}"
    )


def check_run(run: SavedRun) -> None:
    """Raise `InputError` if random numbers are generated differently here than where the run was started."""
    if run.about["random_keys"] != manifest.describe_random_keys():
        raise InputError(
            f"the run in {str(run.path)!r} draws random numbers with {run.about['random_keys']}, but JAX is set to "
            f"{manifest.describe_random_keys()} here; set JAX's flags as they were"
        )


def describe_other_versions(run: SavedRun) -> str:
    """List the packages whose versions differ from those that saved the run; "" if none do."""
    then, now = run.about["versions"], manifest.package_versions()
    return ", ".join(
        f"{package} {then.get(package)} then and {now[package]} now" for package in now if then.get(package) != now[package]
    )


def _may_differ(name: str, now: object, then: object) -> bool:
    # Any number of updates per call gives the same bits, except 1, which is another program.
    # A text file may have moved: its SHA-256 decides whether it is the same text.
    moved = name == "text" and not ({now, then} & set(TEXT_NAMES) or any(has_import_form(str(text)) for text in (now, then)))
    moved |= name in ("encoding", "separator")
    return name in FREE or name == "epochs" or moved or (name == "updates_per_call" and 1 not in (now, then))
