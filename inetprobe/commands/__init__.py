"""One module or package a command, found under the command's name. Imports nothing: each is loaded when it is run."""
