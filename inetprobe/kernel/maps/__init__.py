"""The BPF program's maps, read in mapped memory."""
