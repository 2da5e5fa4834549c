"""What the commands share: the click group, options, a live run."""
