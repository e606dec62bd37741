"""The gateway as an HTTP service: OpenAI's API for whoever has a key of ours."""
