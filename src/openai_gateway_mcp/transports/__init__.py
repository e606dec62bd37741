"""Where the bytes of a conversation come from and go to."""
