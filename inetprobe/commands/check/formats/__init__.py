"""The formats of a check's result: one module per --format."""
