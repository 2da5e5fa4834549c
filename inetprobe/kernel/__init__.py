"""All that touches the running kernel. Only ``program.compiler`` imports bcc; every reader takes its root path, so that
tests give it recorded trees."""
