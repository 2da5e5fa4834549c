"""One record a socket: its layout, a batch of them, where each went, a file of them."""
