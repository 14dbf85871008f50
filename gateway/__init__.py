"""The gateway: fan one OpenAI-compatible request out to several providers and answer with what a selector picks."""
