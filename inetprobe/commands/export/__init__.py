"""``inetprobe export``: one module per format."""
