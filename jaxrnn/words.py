"""Words for numbers."""


def counted(number: int, noun: str) -> str:
    """Put a number before its noun: `1 update`, `2,000 updates`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
