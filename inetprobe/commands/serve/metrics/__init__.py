"""From a Snapshot of the counts to the Prometheus page."""
