"""All that touches the running kernel. Only ``bpf`` imports bcc; every reader takes its root path, so that tests give
it recorded trees."""
