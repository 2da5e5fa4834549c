"""The BPF program: its target, compiling, loading, attaching."""
