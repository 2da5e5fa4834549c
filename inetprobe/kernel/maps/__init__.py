"""The BPF program's maps, read from mapped memory."""
