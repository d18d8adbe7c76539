"""Scripts that start and stop vLLM servers: what they write, and what they do beside a false engine."""
