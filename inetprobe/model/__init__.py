"""A pure-Python inet_create: given a request and a machine it yields the calls, their nesting and the errno.

Standard library only. ``protosw`` is the table and its walk, ``units`` what registers in it, ``features`` what changed
between kernels, ``machine`` what else decides, ``create`` the path itself, ``explore`` every way it can go, ``explain``
why, ``judge`` a real trace held against it.
"""
