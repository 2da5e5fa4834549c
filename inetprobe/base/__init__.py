"""What every room may use and none of them owns: errors, text, words, numbers of the C headers, files."""
