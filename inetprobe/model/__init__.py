"""A pure-Python inet_create: given a request and a machine it yields the calls, their nesting and the errno.

Standard library only. ``inetsw`` is the table and its walk, ``protocols`` what registers in it, ``features`` what
changed between kernels, ``world`` what else decides, ``inet_create`` the path itself, ``ways`` every way it can go,
``reasons`` why, ``verdict`` a real trace held against it.
"""
