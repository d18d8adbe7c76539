"""The executor against real processes: small fake engines, the emulator, and Envoy."""
