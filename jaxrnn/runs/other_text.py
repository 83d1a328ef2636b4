"""Read a text on which a run was not trained, with the characters that its model knows."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Integer

from jaxrnn.config import build, parts
from jaxrnn.config.build import UsedText
from jaxrnn.config.settings import Config, TextConfig
from jaxrnn.data import documents, vocabulary
from jaxrnn.data import text as texts
from jaxrnn.data.reading import check_encoding
from jaxrnn.data.vocabulary import Vocabulary
from jaxrnn.errors import InputError, pluralize
from jaxrnn.runs.describe import list_files


class OtherText(NamedTuple):
    """A text as ids of a run's vocabulary."""

    name: str  # short, for the rows of a table
    ids: Integer[np.ndarray, " characters"]  # documents are marked, if each starts anew
    facts: dict[str, str]  # its documents and files, if there are several


def read_other_text(config: Config, known: Vocabulary, text: TextConfig, skip_unknown: bool) -> OtherText:
    """Read a text with the vocabulary of a run.

    Args:
      config: settings of the run.
      text: names the text, and says how it is read.
      skip_unknown: whether characters that the model does not know are left out; otherwise they are an error.
    Raises:
      InputError: the text cannot be read, has fewer than two characters, or has unknown ones.
    """
    parts.check_names(text.text)
    check_encoding(text.encoding)
    used = build.read_used_text(dataclasses.replace(config, text=text), known)
    name = text.text if isinstance(text.text, str) else pluralize(len(used.found.files), "file")
    ids, starts = vocabulary.recode(known, used.coded.ids, used.coded.characters), used.coded.starts
    unknown = np.flatnonzero(ids < 0)
    if unknown.size and not skip_unknown:
        raise InputError(_describe_unknown(used, known, int(unknown[0]), name))
    if unknown.size:
        name = f"{name} without {pluralize(len(unknown), 'unknown character')}"
        starts = starts - np.searchsorted(unknown, starts)  # as many characters before them are left out
        ids = ids[ids >= 0]
        starts = np.unique(starts[starts < len(ids)])
    texts.check_length(name, len(ids))
    facts = _list_facts(used, len(starts), text.reset)
    return OtherText(name, documents.mark(ids, starts[starts > 0]) if text.reset else ids, facts)


def _describe_unknown(used: UsedText, known: Vocabulary, position: int, name: str) -> str:
    """Describe an unknown character, and where it is."""
    character = used.coded.characters[used.coded.ids[position]]
    file, of_file = _find_file(used.found.files, used.coded.sizes, position) if len(used.found.files) > 1 else (name, position)
    said = vocabulary.describe_unknown(known, character, of_file)
    return f"text {file!r}: {said}; add --skip-unknown to leave such characters out"


def _find_file(names: Sequence[str], sizes: Sequence[int], position: int) -> tuple[str, int]:
    """Return the file in which a position of the joined text is, and the position in it."""
    ends = np.cumsum(sizes)
    index = int(np.searchsorted(ends, position, side="right"))
    return names[index], position - int(ends[index]) + sizes[index]


def _list_facts(used: UsedText, num_documents: int, reset: bool) -> dict[str, str]:
    carried = "" if reset else ", the state carried on"
    documents_of = {"documents": f"{num_documents:,}{carried}"} if num_documents > 1 else {}
    if len(used.found.files) <= 1 and not used.found.skipped:
        return documents_of
    return {**documents_of, **list_files(list(zip(used.found.files, used.coded.sizes, strict=False)), used.found)}
