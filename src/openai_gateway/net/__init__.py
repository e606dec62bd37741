"""HTTP over trio streams: whatever touches sockets, TLS and the bytes of HTTP/1.1."""
