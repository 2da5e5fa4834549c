"""The agent inside the throwaway VM, and the protocol between host and guest.

Few imports on purpose: under software emulation an import that takes a hundredth of a second natively takes a tenth.
"""
