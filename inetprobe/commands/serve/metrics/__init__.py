"""From the counts of a moment to a Prometheus page."""
