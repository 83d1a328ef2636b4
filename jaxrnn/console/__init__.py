"""What one sees and types: flags, errors in one line, tables, the picture."""
