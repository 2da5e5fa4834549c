"""--sock: the offsets of the fields of ``model.inet_sock`` in the running kernel, as constants for bpf/sock.h."""

from __future__ import annotations

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.btf import Btf, Field
from inetprobe.model.inet_sock import Sock

_WORD = 8  # bytes read at a time; every sock is aligned to it

#: Each field's member, and the bit of inet_flags that replaces it since Linux 6.6 (None: it stays a member).
MEMBERS: dict[str, tuple[tuple[str, ...], str | None]] = {
    "sk_type": (("sock", "sk_type"), None),
    "sk_protocol": (("sock", "sk_protocol"), None),
    "sk_reuse": (("sock", "__sk_common", "skc_reuse"), None),
    "inet_num": (("sock", "__sk_common", "skc_num"), None),
    "inet_sport": (("inet_sock", "inet_sport"), None),
    "is_icsk": (("inet_sock", "is_icsk"), "INET_FLAGS_IS_ICSK"),
    "hdrincl": (("inet_sock", "hdrincl"), "INET_FLAGS_HDRINCL"),
    "nodefrag": (("inet_sock", "nodefrag"), "INET_FLAGS_NODEFRAG"),
    "pmtudisc": (("inet_sock", "pmtudisc"), None),
    "uc_ttl": (("inet_sock", "uc_ttl"), None),
    "mc_ttl": (("inet_sock", "mc_ttl"), None),
    "mc_loop": (("inet_sock", "mc_loop"), "INET_FLAGS_MC_LOOP"),
    "mc_all": (("inet_sock", "mc_all"), "INET_FLAGS_MC_ALL"),
    "mc_index": (("inet_sock", "mc_index"), None),
    "rcv_tos": (("inet_sock", "rcv_tos"), None),
}
#: The word that holds those bits.
FLAGS = ("inet_sock", "inet_flags")
SOCKET_SK = ("socket", "sk")
_BIG_ENDIAN = frozenset({"inet_sport"})


def find_field(types: Btf, name: str) -> Field | None:
    """The field of ``model.inet_sock.Sock``, from the sock's own start; None where this kernel lacks it.

    ``struct inet_sock`` begins with its ``struct sock``.
    """
    member, flag = MEMBERS[name]
    try:
        return types.field(*member)
    except HostError:
        bit = None if flag is None else types.enumerator(flag)
        if bit is None:
            return None
    try:
        word = types.field(*FLAGS)
    except HostError:
        return None
    return Field(word.offset + bit // 8, bit % 8, 1, signed=False)


def constants(types: Btf) -> dict[str, str]:
    """OFF_SOCKET_SK, the lists that bpf/sock.h expands (SOCK_WORDS(X), SOCK_FIELDS(X)), and SOCK_PRESENT.

    Raises HostError where this kernel's struct socket has no member sk.
    """
    words: list[int] = []
    fields = []
    present = 0
    for number, name in enumerate(Sock._fields):
        field = find_field(types, name)
        if field is None:
            continue
        word = field.offset // _WORD * _WORD
        low = 8 * (field.offset - word) + field.shift
        if low + field.bits > 8 * _WORD:
            continue  # only in a packed structure, and none of them is packed
        if word not in words:
            words.append(word)
        order = "BIG_ENDIAN" if name in _BIG_ENDIAN else "SIGNED" if field.signed else "UNSIGNED"
        # Shift left to drop the bits above the field, then right to drop those below.
        fields.append(f"X({name},{word},{8 * _WORD - low - field.bits},{8 * _WORD - field.bits},{order})")
        present |= 1 << number
    return {
        "OFF_SOCKET_SK": str(types.offset(*SOCKET_SK)),
        "SOCK_WORDS(X)": " ".join(f"X({word})" for word in words),
        "SOCK_FIELDS(X)": " ".join(fields),
        "SOCK_PRESENT": f"{present:#x}",
        "INETPROBE_SOCKS": "1",
    }
