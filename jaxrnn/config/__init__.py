"""From flags to objects."""
