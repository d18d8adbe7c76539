"""The engine emulator: units, and real processes on loopback compared with what vLLM answers."""
