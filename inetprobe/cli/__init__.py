"""What the commands share: the click group, options, live runs, progress, completion."""
