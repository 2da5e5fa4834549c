"""Records as Arrow columns: written into a recording, and read from one that is not trusted."""
