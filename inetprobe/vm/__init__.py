"""The throwaway VM: this machine's root file system, read-only, under a kernel of its own.

::

    run_in_vm ── accel.plan ──> Session ── virtme-run ── qemu ══ virtio-serial ══ guest.agent ── the command
                                    control, stdin, stdout, stderr (protocol)

Whatever the command writes outside the current folder is gone with the VM.
"""
