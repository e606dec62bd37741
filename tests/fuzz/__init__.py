"""Property-based fuzzing of the protocol layer."""
