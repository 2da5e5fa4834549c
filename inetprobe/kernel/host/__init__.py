"""The running kernel: structure offsets, symbols, tracefs, cgroups, privileges."""
