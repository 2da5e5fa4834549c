"""What inetprobe export writes."""
