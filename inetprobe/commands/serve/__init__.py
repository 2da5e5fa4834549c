"""``inetprobe serve``: exact counts for Prometheus, and a sampled stream of traces that need an explanation."""
