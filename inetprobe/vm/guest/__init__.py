"""What runs inside the throwaway VM, and the language in which the host talks to it.

Poor in imports on purpose: under software emulation each hundredth of a second of
imports is a tenth, before the user's command even starts.
"""
