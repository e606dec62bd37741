"""The stores, each by the same laws; and what is only SQLite's."""
