"""Text -> ids -> streams."""
