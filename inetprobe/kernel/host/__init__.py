"""What this kernel is and has: structure offsets, symbols, tracefs, cgroups, privileges."""
