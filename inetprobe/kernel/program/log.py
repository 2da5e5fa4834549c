"""The logs of LLVM and of the verifier: many lines, of which one says what is wrong."""

# The verifier's statistics, after its last word.
_STATISTICS = ("processed ", "verification time ", "stack depth ")


def compiler_error(log: str) -> str:
    """The first error in the compiler's log, else its first line; empty where it has none."""
    lines = _lines(log)
    return next((line for line in lines if "error" in line.lower()), next(iter(lines), ""))


def verifier_error(log: str) -> str:
    """The last line of the verifier's log before its statistics; empty where there is none."""
    return next((line for line in reversed(_lines(log)) if not line.startswith(_STATISTICS)), "")


def _lines(log: str) -> list[str]:
    return [line.strip() for line in log.splitlines() if line.strip()]
