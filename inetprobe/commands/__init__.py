"""The commands: ``inetprobe X`` is the module or package ``X``. Imports nothing: a command is imported when it runs."""
