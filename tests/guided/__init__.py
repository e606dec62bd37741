"""A property of bytes for each thing that reads some: the targets of `scripts/fuzz --atheris`."""
