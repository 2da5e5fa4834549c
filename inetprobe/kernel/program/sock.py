"""--sock: where the running kernel keeps the fields of ``model.inet_sock``, as constants for bpf/sock.h."""

from __future__ import annotations

from inetprobe.base.errors import HostError
from inetprobe.kernel.host.btf import Btf, Field
from inetprobe.model.inet_sock import Sock

_WORD = 8  # bytes read at a time; every sock begins on a multiple of it

#: Each field's member, and the bit of inet_flags that took its place (Linux 6.6) where it is no member any more.
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
#: The word whose bits the flags are.
FLAGS = ("inet_sock", "inet_flags")
SOCKET_SK = ("socket", "sk")
_BIG_ENDIAN = frozenset({"inet_sport"})


def place(types: Btf, name: str) -> Field | None:
    """Where a field of ``model.sock.Sock`` is from the sock's own start, None where this kernel has none such.

    ``struct inet_sock`` begins with the ``struct sock``.
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
    """OFF_SOCKET_SK, and what bpf/sock.h expands: SOCK_WORDS(X) and SOCK_FIELDS(X), with SOCK_PRESENT.

    Raises HostError where not even the sock can be found.
    """
    words: list[int] = []
    fields = []
    present = 0
    for number, name in enumerate(Sock._fields):
        found = place(types, name)
        if found is None:
            continue
        word = found.offset // _WORD * _WORD
        low = 8 * (found.offset - word) + found.shift
        if low + found.bits > 8 * _WORD:
            continue  # of a packed structure, which none of them is
        if word not in words:
            words.append(word)
        kind = "BIG_ENDIAN" if name in _BIG_ENDIAN else "SIGNED" if found.signed else "UNSIGNED"
        # Its bits to the top of the word, then down to the bottom.
        fields.append(f"X({name},{word},{8 * _WORD - low - found.bits},{8 * _WORD - found.bits},{kind})")
        present |= 1 << number
    return {
        "OFF_SOCKET_SK": str(types.offset(*SOCKET_SK)),
        "SOCK_WORDS(X)": " ".join(f"X({word})" for word in words),
        "SOCK_FIELDS(X)": " ".join(fields),
        "SOCK_PRESENT": f"{present:#x}",
        "INETPROBE_SOCKS": "1",
    }
