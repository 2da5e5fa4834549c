"""BPF programs are compiled by the machine that runs the VM: the emulated one takes thirteen times as long.

`tools/live.py` answers what is asked for here. As a script it is the command line, for tests that need a process begun
the ordinary way. tests/live/test_kept.py lets the guest compile.
"""

import base64
import hashlib
import json
import os
import time
from pathlib import Path

from inetprobe.base.errors import HostError
from inetprobe.cli.main import main
from inetprobe.kernel.program import compiler
from inetprobe.kernel.program.code_cache import Code

QUESTION, ANSWER = ".question", ".answer"
compile_here = compiler.compile_program


def ask(text, flags, whole_log):
    """As compiler.compile_program."""
    folder = os.environ.get("INETPROBE_LIVE_COMPILER")
    if folder is None:
        return compile_here(text, flags, whole_log)
    question = json.dumps([text, list(flags)])
    name = hashlib.sha256(question.encode()).hexdigest()
    asked, answered = (Path(folder) / f"{name}{suffix}" for suffix in (QUESTION, ANSWER))
    asked.with_suffix(".new").write_text(question)
    asked.with_suffix(".new").rename(asked)
    deadline = time.monotonic() + 120
    while not answered.exists():
        assert time.monotonic() < deadline, "the host does not compile"
        time.sleep(0.05)
    answer = json.loads(answered.read_text())
    if "refused" in answer:
        raise HostError(answer["refused"])
    functions = {name: base64.b64decode(code) for name, code in answer["functions"].items()}
    return Code(functions, tuple(map(tuple, answer["libraries"])))


def answer_all(folder):
    """On the host: compiles whatever is asked for in ``folder`` so far; how many programs that were."""
    questions = list(folder.glob(f"*{QUESTION}"))
    for asked in questions:
        text, flags = json.loads(asked.read_text())
        try:
            code = compile_here(text, flags, None)
        except HostError as error:
            answer = {"refused": str(error)}
        else:
            functions = {name: base64.b64encode(one).decode() for name, one in code.functions.items()}
            answer = {"functions": functions, "libraries": code.libraries}
        asked.with_suffix(".new").write_text(json.dumps(answer))
        asked.unlink()
        asked.with_suffix(".new").rename(asked.with_suffix(ANSWER))
    return len(questions)


compiler.compile_program = ask
if __name__ == "__main__":
    main()
