"""The addresses of a stack → names of functions."""
