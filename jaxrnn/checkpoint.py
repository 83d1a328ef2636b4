"""A run's state and what is needed to use it, on disk: Orbax for the arrays, JSON for the rest.

Everything is written to `RUN/checkpoints/STEP`. Orbax does not notice changed bytes in the arrays, so the JSON part carries a
SHA-256 over both, which is verified whenever a checkpoint is read.
"""

import contextlib
import gc
import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

import jaxrnn
from jaxrnn import config as configs
from jaxrnn import vocabulary as vocabularies
from jaxrnn.build import Data, keys, learner, model
from jaxrnn.config import Config
from jaxrnn.errors import InputError
from jaxrnn.learner import State
from jaxrnn.model import Model
from jaxrnn.schedule import Schedule
from jaxrnn.vocabulary import Vocabulary

FORMAT = 1
KEPT = 3  # checkpoints, the newest ones


class Run(NamedTuple):
    """A run read back from its folder."""

    path: Path
    config: Config
    vocabulary: Vocabulary
    model: Model
    state: State
    epochs: int  # that it has finished
    text_sha256: str


def metadata(config: Config, data: Data, epochs: int, schedule: Schedule) -> dict[str, Any]:
    """What a checkpoint says besides its arrays: all that sampling, evaluating and going on need."""
    return {
        "format": FORMAT,
        "versions": {"jaxrnn": jaxrnn.__version__, "jax": jax.__version__},
        "config": configs.to_json(config),
        "vocabulary": vocabularies.to_json(data.vocabulary),
        "text": {"sha256": data.sha256, "characters": data.num_used},
        "epochs": epochs,
        "schedule": schedule._asdict(),
    }


def save(run_dir: Path, state: State, about: Mapping[str, Any]) -> None:
    """Writes the state and its metadata as the checkpoint of this step; older ones are then removed."""
    import orbax.checkpoint as ocp  # here, because it takes half a second to import

    saved = {"about": about, "sha256": digest(state, about)}
    with _manager(run_dir) as manager:
        manager.save(
            int(state.step), args=ocp.args.Composite(state=ocp.args.StandardSave(state), about=ocp.args.JsonSave(saved))
        )


def load(run_dir: Path) -> Run:
    """The newest checkpoint of a run, verified.

    Raises:
      InputError: no run there; of another version; damaged.
    """
    try:
        found = (run_dir / "checkpoints").is_dir()
    except OSError:  # a name that no file can have
        found = False
    if not found:
        raise InputError(f"no run in {str(run_dir)!r}: there is no folder of checkpoints in it")
    with _manager(run_dir, read_only=True) as manager:
        step = manager.latest_step()
        if step is None:
            raise InputError(f"the run in {str(run_dir)!r} has not saved anything yet")
        with _damage_told(run_dir, step):
            return _verified(manager, step, run_dir)


def newest(runs_dir: Path = Path("runs")) -> Path:
    """The run that was written to last.

    Raises:
      InputError: there is none.
    """
    runs = {path.parent.parent for path in runs_dir.glob("*/checkpoints/*") if path.name.isdigit()}
    if not runs:
        raise InputError(f"no run in the folder {str(runs_dir)!r}; train one first (python -m jaxrnn.train) or name its folder")
    return max(runs, key=lambda run: (run / "checkpoints").stat().st_mtime)


def digest(state: PyTree, about: Mapping[str, Any]) -> str:
    """SHA-256 over the metadata and over each array's path, dtype, shape and bytes."""
    result = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        kind = str(leaf.dtype)
        array = np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        result.update(f"{jax.tree_util.keystr(path)} {kind} {array.dtype.str} {array.shape}".encode())
        result.update(array.tobytes())
    return result.hexdigest()


def _manager(run_dir: Path, read_only: bool = False) -> Any:
    import orbax.checkpoint as ocp

    options = ocp.CheckpointManagerOptions(
        enable_async_checkpointing=False,
        preservation_policy=ocp.checkpoint_managers.LatestN(KEPT),
        read_only=read_only,
    )
    return ocp.CheckpointManager((run_dir / "checkpoints").absolute(), options=options)


def _abstract(state: State) -> State:
    # Where an array goes is said explicitly: else Orbax wants the devices on which it was saved.
    here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=here), state)


def _verified(manager: Any, step: int, run_dir: Path) -> Run:
    """What the checkpoint of one step holds; any exception if it is not what was saved."""
    import orbax.checkpoint as ocp

    saved = manager.restore(step, args=ocp.args.Composite(about=ocp.args.JsonRestore()))["about"]
    about = saved["about"]
    if about["format"] != FORMAT:
        raise InputError(f"it is of format {about['format']}, and this jaxrnn reads format {FORMAT}")
    config, vocabulary = _config(about), vocabularies.from_json(about["vocabulary"])
    language_model = model(config, vocabulary)
    target = _abstract(jax.eval_shape(learner(config, language_model).init, keys(0).init))
    state = manager.restore(step, args=ocp.args.Composite(state=ocp.args.StandardRestore(target)))["state"]
    if digest(state, about) != saved["sha256"]:
        raise ValueError("its SHA-256 is another one than when it was saved")
    return Run(run_dir, config, vocabulary, language_model, state, about["epochs"], about["text"]["sha256"])


def _config(about: Mapping[str, Any]) -> Config:
    try:
        return configs.from_json(about["config"])
    except InputError as error:
        raise InputError(
            f"{error}; it was trained with jaxrnn {about['versions']['jaxrnn']}, this is {jaxrnn.__version__}"
        ) from None


@contextlib.contextmanager
def _damage_told(run_dir: Path, step: int) -> Iterator[None]:
    """Reading a damaged checkpoint fails in many ways and with many words; the person at the keyboard is told once."""
    damaged = run_dir / "checkpoints" / str(step)
    try:
        with contextlib.redirect_stderr(io.StringIO()):
            try:
                yield
            finally:
                gc.collect()  # what Orbax has left unfinished complains when it is collected
    except InputError as error:
        raise InputError(f"the run in {str(run_dir)!r} cannot be used: {error}") from None
    except (MemoryError, jax.errors.JaxRuntimeError):
        raise  # what was saved may be good
    except PermissionError as error:
        raise InputError(f"checkpoint {str(damaged)!r} cannot be read: {error.strerror}") from None
    except Exception as error:
        older = len(list(damaged.parent.iterdir())) > 1
        remedy = "remove that folder to use the checkpoint before it" if older else "train it again"
        raise InputError(f"checkpoint {str(damaged)!r} is damaged or incomplete ({type(error).__name__}); {remedy}") from None
