"""The logs of LLVM and of the verifier: many lines, one of them telling."""


def telling(log: str) -> str:
    """The line of a compiler's or verifier's log that says what is wrong."""
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower() or "invalid" in line.lower() or "Failed" in line]
    return (errors or lines or [""])[0]
