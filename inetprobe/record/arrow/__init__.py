"""Records as Arrow columns: written into a recording, and read again from a stranger's."""
