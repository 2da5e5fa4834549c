"""Sockets by io_uring, one call at a time: include/uapi/linux/io_uring.h."""

import ctypes
import mmap
import os
import struct

LIBC = ctypes.CDLL(None, use_errno=True)
_SETUP, _ENTER, _GETEVENTS, _OP_SOCKET = 425, 426, 1, 45
_SQ_RING, _CQ_RING, _SQES = 0, 0x8000000, 0x10000000  # IORING_OFF_*


class Ring:
    """A ring with room for one call."""

    def __init__(self):
        params = ctypes.create_string_buffer(120)  # struct io_uring_params
        self._fd = LIBC.syscall(_SETUP, 1, params)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "io_uring_setup")
        self._sq_off = struct.unpack_from("=7I", params, 40)  # head, tail, mask, entries, flags, dropped, array
        self._cq_off = struct.unpack_from("=6I", params, 80)  # head, tail, mask, entries, overflow, cqes
        self._sq, self._cq, self._sqes = (
            mmap.mmap(self._fd, mmap.PAGESIZE, mmap.MAP_SHARED, offset=offset) for offset in (_SQ_RING, _CQ_RING, _SQES)
        )

    def socket(self, family, type_, protocol):
        """The descriptor, or an errno below 0."""
        sqe = struct.pack("=BBHiQQIIQ", _OP_SOCKET, 0, 0, family, type_, 0, protocol, 0, 0)
        self._sqes[:64] = sqe.ljust(64, b"\0")
        tail = self._word(self._sq, self._sq_off[1])
        struct.pack_into("=I", self._sq, self._sq_off[6], 0)
        struct.pack_into("=I", self._sq, self._sq_off[1], tail + 1)
        if LIBC.syscall(_ENTER, self._fd, 1, 1, _GETEVENTS, None, 0) != 1:
            raise OSError(ctypes.get_errno(), "io_uring_enter")
        head = self._word(self._cq, self._cq_off[0])
        at = self._cq_off[5] + 16 * (head & self._word(self._cq, self._cq_off[2]))
        _, result = struct.unpack_from("=Qi", self._cq, at)
        struct.pack_into("=I", self._cq, self._cq_off[0], head + 1)
        return result

    def close(self):
        os.close(self._fd)

    @staticmethod
    def _word(ring, at):
        return struct.unpack_from("=I", ring, at)[0]
