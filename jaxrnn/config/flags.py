"""Annotations that tell the command line how to show a setting, and flags that programs share."""

from typing import Annotated, NamedTuple, TypeAlias


class Flag(NamedTuple):
    """Annotation of a setting, for what its type, default and docstring do not say."""

    value: str = ""  # placeholder of the value in the help, such as `NAME|FILE`
    default: str = ""  # in words
    text: str = ""  # help of a flag that several programs share
    is_positional: bool = False


Seed: TypeAlias = Annotated[int, Flag(text="Random seed.")]
Trust: TypeAlias = Annotated[
    str,
    Flag(
        "PACKAGE[,PACKAGE]",
        default="none",
        text="Packages whose code a saved run may import, if it uses your own cell, rule, optimizer or text (MODULE:NAME). "
        "Imported code can do anything: name only packages that you trust.",
    ),
]
# On by default, so the help shows this text under `--no-compilation-cache`.
CompilationCache: TypeAlias = Annotated[
    bool, Flag(text="Disable the on-disk cache of compiled programs; later runs then start more slowly.")
]
