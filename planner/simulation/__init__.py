"""The one step-level core: continuous batching, KV blocks, neighbours; clock and randomness are injected."""
