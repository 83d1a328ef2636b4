"""Show a run's settings and history, and verify its checkpoints; the exit code is 4 if one of them is damaged."""

if __name__ == "__main__":  # before the imports: a signal during them must end the program in one line, too
    from jaxrnn.__main__ import run_program

    run_program("inspect")

import contextlib
import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import jax

from jaxrnn.config.flags import Trust
from jaxrnn.config.saved import config_to_json
from jaxrnn.config.scorers import describe_learning
from jaxrnn.config.settings import Config
from jaxrnn.config.trust import Untrusted, trusted
from jaxrnn.console import cli, report, terminal
from jaxrnn.console.program_flags import AsJson, RunFolder
from jaxrnn.data.files import list_names
from jaxrnn.errors import DamageFound, InputError, pluralize
from jaxrnn.runs.changes import describe_history
from jaxrnn.runtime import devices
from jaxrnn.storage import logs
from jaxrnn.storage.checkpoint import SavedRun
from jaxrnn.storage.streams import SavedStream
from jaxrnn.storage.verify import Verified, verify_run
from jaxrnn.training.optimizers import learning_rate


def describe_settings(config: Config) -> dict[str, str]:
    """Return the settings that have a value."""
    return {
        name.replace("_", "-"): list_names(value) if isinstance(value, tuple) else str(value)
        for part in dataclasses.fields(config)
        for name, value in vars(getattr(config, part.name)).items()
        if value != "" and name not in ("run_dir", "resume")
    }


def describe_run(run: SavedRun) -> dict[str, str]:
    """Describe a run: its settings and everything else that its checkpoints share."""
    settings = describe_settings(run.config)
    num_params, text = sum(leaf.size for leaf in jax.tree.leaves(run.snapshot.state.params)), run.about["text"]
    documents = f", {text['documents']:,} documents" if "documents" in text else ""
    return {
        **settings,
        "vocabulary": report.describe_vocabulary(run.vocabulary, run.config.text.rare_threshold, 40),
        "parameters": f"{num_params:,}",
        "text": f"{settings['text']}, {text['characters']:,} characters{documents}, SHA-256 {text['sha256'][:12]}…",
        **({"stream": _describe_stream(run.stream)} if run.stream else {}),
        **run.about["versions"],
        "random keys": run.about.get("random_keys", "not recorded"),
    }


def _describe_stream(stream: SavedStream) -> str:
    """Describe what the run has read and learned from since its training."""
    extent = stream.extent
    read = f"{pluralize(extent.num_lines, 'line')}, {pluralize(extent.num_characters, 'character')}"
    return f"{read}, {extent.nats / max(1, extent.num_characters):.4f} nats per character; {describe_learning(stream.learning)}"


def checkpoint_row(found: Verified) -> dict[str, object]:
    """Summarize a checkpoint in numbers; losses are in nats per character."""
    if found.run is None:
        return {
            "number": found.number,
            "bytes": found.num_bytes,
            "good": False if found.damaged else None,  # None: unknown
            "reason": found.reason,
        }
    progress = found.run.snapshot.progress
    return {
        "number": found.number,
        "bytes": found.num_bytes,
        "good": True,
        "step": int(found.run.snapshot.state.step),
        "epochs": progress.epochs,
        "learning_rate": learning_rate(found.run.snapshot.state.opt_state),
        "online_nats": progress.online_nats,
        "best_nats": progress.best_nats,
        "best_step": progress.best_step,
        "rollbacks": progress.rollbacks,
    }


@dataclass(frozen=True)
class InspectConfig:
    """Options."""

    run: RunFolder
    json: AsJson = False
    trust: Trust = ""


def main(arguments: list[str] | None = None) -> None:
    """Run the program."""
    with cli.exit_on_error():
        options = cli.parse(InspectConfig, "inspect", __doc__, arguments)
        devices.start_backend()
        with report.show_status(report.make_screen(), "reading the checkpoints"), _settings_shown(options):
            found = verify_run(options.run, trusted(options.trust))
        good = [each.run for each in found if each.run is not None]
        damaged = sum(each.damaged for each in found)
        if not good and not damaged:  # none can be read: say why in one line, without a table
            raise InputError(describe_unreadable(options.run, found))
        if len(good) < len(found):
            terminal.tolerate_closed_output()  # the exit code says what matters most
        if options.json:
            config = config_to_json(good[-1].config) if good else None
            about = {"config": config, "versions": dict(good[-1].about["versions"]) if good else None}
            history = [event for event in logs.read_events(options.run) if event["event"] == "changed"]
            print(logs.to_json_line({**about, "checkpoints": [checkpoint_row(each) for each in found], "changes": history}))
        else:
            print_run(options.run, found, good)
        if damaged:
            are = "is" if damaged == 1 else "are"
            raise DamageFound(f"{damaged} of {len(found)} checkpoints in {str(options.run)!r} {are} damaged")
        if len(good) < len(found):
            raise InputError(describe_unreadable(options.run, found))


@contextlib.contextmanager
def _settings_shown(options: InspectConfig) -> Iterator[None]:
    """Show the settings even of a run that names untrusted code, whose checkpoints cannot be verified."""
    try:
        yield
    except Untrusted as error:
        terminal.tolerate_closed_output()
        if options.json:
            print(logs.to_json_line({"config": config_to_json(error.settings), "versions": None, "checkpoints": []}))
        else:
            report.show_facts(report.make_screen(), {**describe_settings(error.settings), "run": str(options.run)})
        raise InputError(f"its checkpoints are not verified: {error}") from None


def describe_unreadable(run_dir: Path, found: list[Verified]) -> str:
    """Say how many checkpoints cannot be read here, and why the newest of them cannot."""
    *_, reason = reasons = [each.reason for each in found if each.run is None and not each.damaged]
    return f"{len(reasons)} of {len(found)} checkpoints in {str(run_dir)!r} cannot be read here: {reason}"


def print_run(run_dir: Path, found: list[Verified], good: list[SavedRun]) -> None:
    """Show the settings, then a line for each checkpoint."""
    screen = report.make_screen()
    if good:
        report.show_facts(screen, {**describe_run(good[-1]), "run": str(run_dir)})
    history = describe_history(logs.read_events(run_dir))
    if history:
        report.show_facts(screen, {f"changed at {place}": said for place, said in history.items()})
    report.show_checkpoints(screen, [checkpoint_row(each) for each in found])
