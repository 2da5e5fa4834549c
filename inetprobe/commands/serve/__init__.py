"""inetprobe serve: exact counts for Prometheus, and a stream of what needs an explanation."""
