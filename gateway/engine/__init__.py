"""The fan-out engine: plan a request, run the one loop, say what happened in events."""
