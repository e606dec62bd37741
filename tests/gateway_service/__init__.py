"""The service over streams in memory: requests in bytes, a store in a file, an upstream that plays a script."""
