"""SQL over recordings, in an embedded DuckDB."""
