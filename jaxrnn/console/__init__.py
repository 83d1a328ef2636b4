"""What the user types and sees: flags, one-line errors, tables, the picture of the loss."""
