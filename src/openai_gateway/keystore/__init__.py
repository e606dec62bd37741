"""Keys at rest: files that only their owner can read, the OS keyring, and what a key is at all. Nothing here awaits."""
