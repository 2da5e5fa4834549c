"""socket(2) in plain Python: given a request and a machine, it yields the errno, the traced calls and the reason.

It needs the standard library and ``base`` alone. In the order in which to read it:

- ``inet_create``: the path of an inet socket through its create, decision by decision; start here
- ``sys_socket``: socket(2) and socketpair(2) around a create; ``net_families``: the creates of other families
- ``inetsw``, ``protocols``: the table of protocols, its lookup, and the entries that register in it
- ``rules``, ``explanation``: the rules that decide, and why an outcome came about
- ``features``: the changes between kernels; ``profile``: the facts about one machine
- ``world``: the questions that they ask, and ``Machine``, which has one answer to each
- ``ways``: every way that inet_create can go; ``judge``: did a real trace go one of them? ``system_call``: what refused
  one that came to no create, or took its socket back
- ``inet_sock``: the fields of the new sock, predicted
- ``question``: a request as people type it, answered

Nothing is imported here: reading a recording needs only ``profile``.
"""
