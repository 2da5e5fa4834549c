"""Addresses of a stack → names of functions."""
