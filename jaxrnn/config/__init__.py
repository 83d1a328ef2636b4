"""From flags to objects: settings, their checks, and what is built from them."""
