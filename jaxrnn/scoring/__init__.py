"""How well a text is predicted; drawing text."""
