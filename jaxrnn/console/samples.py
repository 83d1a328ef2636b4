"""Samples as lines of text or as JSON."""

import json

from jaxrnn.scoring.novelty import Copied
from jaxrnn.scoring.side_by_side import Drawn

SEPARATOR = f"\n{'-' * 40}\n"  # between two samples


def sample_to_text(prompt: str, drawn: Drawn, copied: Copied | None, source: str) -> str:
    """Format a sample: its prompt, what follows it, and the longest piece that it has copied from `source`."""
    return f"{prompt}{drawn.text}\n{describe_copied(copied, source)}"


def describe_copied(copied: Copied | None, source: str) -> str:
    """Quote the longest piece that was copied, on a line after an empty one; "" if it was not looked for."""
    if copied is None:
        return ""
    if not copied.piece:
        return f"\nnothing stands in the training part of {source}\n"
    number = f"{len(copied.piece)} character{'s' * (len(copied.piece) > 1)}"
    return f"\nlongest piece copied from {source}: {number}, line {copied.line}: {copied.piece!r}\n"


def sample_to_json(prompt: str, drawn: Drawn, copied: Copied | None, seed: int, number: int, only_ascii: bool) -> str:
    """Format a sample as one line of JSON."""
    about = {
        "prompt": prompt,
        "text": drawn.text,
        "characters": len(drawn.text),
        "nats": round(drawn.nats, 4),
        "seed": seed,
        "number": number,
    }
    if copied is not None:
        about |= {"copied": copied.piece, "copied_characters": len(copied.piece), "copied_line": copied.line or None}
    return f"{json.dumps(about, ensure_ascii=only_ascii)}\n"
