"""Used by every other room: errors, untrusted text, words for people, names of the C headers, files, signals."""
