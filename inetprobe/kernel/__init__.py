"""All that touches the running kernel.

Only ``program.compiler`` imports bcc. Every reader takes its root path, so that tests can give it recorded trees.
"""
