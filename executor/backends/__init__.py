"""Places where replicas can run; each implements executor.backends.protocol.Backend."""
