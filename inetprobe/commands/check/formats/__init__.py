"""How the result of a check is printed: one module a --format."""
