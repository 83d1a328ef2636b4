"""Find the parts that settings name: cells, rules, optimizers and texts, known or your own (`package.module:name`)."""

from typing import Any, NamedTuple

from jaxrnn.config import plugins
from jaxrnn.config.settings import Config
from jaxrnn.data import automaton, files
from jaxrnn.data import text as texts
from jaxrnn.data.automaton import Source
from jaxrnn.errors import InputError
from jaxrnn.models import cells
from jaxrnn.models.cells import CELLS, CellKind
from jaxrnn.rules import RULES, RuleKind, rule_kind, rule_length, takes_parameter
from jaxrnn.training.optimizers import OPTIMIZERS, OptimizerKind, optimizer_kind

RULE_FORMS = "a function (model) -> Rule, which may take `length` and `dropout`, or a RuleKind"
OPTIMIZER_FORMS = "a function (learning_rate) -> optax.GradientTransformation, or an OptimizerKind"
TEXT_FORMS = "a string, a function without arguments that returns one, or an automaton.Source"


class Text(NamedTuple):
    """A text, and its source if known."""

    characters: str
    source: Source | None = None


def find_cell(name: str) -> CellKind:
    """Find a cell by name; `InputError` if it is unknown."""
    return plugins.load_part("cell", name, CELLS, cells.cell_kind, cells.CELL_FORMS)


def find_rule(name: str) -> RuleKind:
    """Find a rule by name; `InputError` if it is unknown."""
    return plugins.load_part("rule", name, RULES, rule_kind, RULE_FORMS)


def find_optimizer(name: str, flag: str = "optimizer") -> OptimizerKind:
    """Find an optimizer by name; `InputError` if it is unknown."""
    return plugins.load_part(flag, name, OPTIMIZERS, optimizer_kind, OPTIMIZER_FORMS)


def find_text(name_or_path: str) -> Text:
    """Read a text by name, path or import string and normalise it; raise `InputError` as `data.text.read` does."""
    if is_own_text(name_or_path):
        return plugins.load_part("text", name_or_path, {}, lambda thing: _to_text(name_or_path, thing), TEXT_FORMS)
    return Text(texts.read(name_or_path), texts.known_source(name_or_path))


def find_missing(names: files.Names) -> str:
    """Return the first of a text's files that no longer exists; "" if all do."""
    return "" if isinstance(names, str) and is_own_text(names) else files.find_missing(names)


def check_names(names: files.Names) -> None:
    """Raise `InputError` if several texts are named, and one of them is no file."""
    for name in names if not isinstance(names, str) else ():
        if is_own_text(name) or texts.has_floor(name):
            raise InputError(f"--text {name} is no file and cannot be joined with others; name it alone")


def is_own_text(name_or_path: str) -> bool:
    """Return whether a text is named by an import string instead of a name or path."""
    return name_or_path not in files.TEXT_NAMES and plugins.is_import_string(name_or_path)


def block_length(config: Config) -> int:
    """Return the number of characters per stream and update, which is `Rule.length`, before there is a model."""
    return rule_length(find_rule(config.learning.rule), config.learning.rule_length)


def reads_blocks(config: Config) -> bool:
    """Return whether an update of the rule reads --rule-length characters."""
    kind = find_rule(config.learning.rule)
    return rule_length(kind, 1) < rule_length(kind, 2)


def can_round(config: Config) -> bool:
    """Return whether a CPU or GPU may round the factors of products to bfloat16: in blocks, by cells that derive from ours."""
    in_blocks = config.learning.rule in RULES and block_length(config) > 1 and not config.learning.counts
    return in_blocks and cells.derives_from_cell(find_cell(config.model.cell))


def may_read_blocks(rule_name: str) -> bool:
    """Return whether a rule may read blocks, as far as is known without making it, before JAX starts."""
    kind = find_rule(rule_name)
    return takes_parameter(kind.make, "length") if kind.in_blocks is None else kind.in_blocks


def _to_text(name: str, thing: Any) -> Text | None:
    with plugins.explain_failures({"text": name}):
        made = thing() if callable(thing) and not isinstance(thing, type | Source) else thing
    if isinstance(made, Source):
        return Text(automaton.write_text(made, texts.NUM_SYNTHETIC, seed=0), made)
    return Text(texts.normalise(made.encode("utf-8", "surrogatepass"), name)) if isinstance(made, str) else None
