"""What Orbax leaves unfinished is not told, whenever it is collected; anything else is."""

import sys
from collections.abc import Callable
from types import SimpleNamespace

import pytest

from jaxrnn.quiet import quiet


async def unfinished():
    """A coroutine."""


def of(file):
    """A coroutine that seems to come from this file."""
    coroutine = unfinished()
    coroutine.close()
    return SimpleNamespace(cr_code=coroutine.cr_code.replace(co_filename=file))


@pytest.mark.parametrize(
    ("source", "error", "told"),
    [
        (of("/site-packages/orbax/checkpoint/serialization.py"), RuntimeError("unfinished"), False),
        (None, RuntimeError("Event loop is closed"), False),
        (of("/site-packages/other/serialization.py"), RuntimeError("unfinished"), True),
        (None, RuntimeError("unfinished"), True),
    ],
)
def test_only_what_orbax_has_left_is_not_told(monkeypatch, source, error, told):
    complaints = []
    monkeypatch.setattr(sys, "unraisablehook", complaints.append)
    with quiet():
        pass
    complaint = SimpleNamespace(object=source, exc_value=error)
    hook: Callable = sys.unraisablehook
    hook(complaint)
    assert complaints == ([complaint] if told else [])
