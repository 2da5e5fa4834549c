"""The command line: a click group, a file a command."""
