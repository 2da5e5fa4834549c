"""Counting any number of sockets in bounded memory."""
