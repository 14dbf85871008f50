"""Providers: callers that put a request on a wire and read the answer, and the simulated provider."""
