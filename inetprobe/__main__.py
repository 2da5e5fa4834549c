"""``python -m inetprobe``."""

from inetprobe.cli import main

main()
