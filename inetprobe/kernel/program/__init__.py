"""The BPF program: what it is built for, compiled, loaded, attached."""
