"""SQL over recordings with DuckDB, embedded."""
