"""All that touches the running kernel.

Every reader takes its root path, so that tests can give it recorded trees.
"""
