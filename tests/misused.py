"""What a misuse must do, whatever is misused."""

from collections.abc import Callable
from typing import Any

import jaxtyping
import pytest

from jaxrnn.errors import InputError


def check_message(misuse: Callable[[], Any], says: str) -> None:
    """Check that a misuse is an error of one sentence, without flags, which are for the programs."""
    jaxtyping.config.update("jaxtyping_disable", True)  # as for users; the types that the tests check would come first
    try:
        with pytest.raises(InputError, match=says) as caught:
            misuse()
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
    message = str(caught.value)
    assert "\n" not in message
    assert "--" not in message
    assert len(message) < 300
