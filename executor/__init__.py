"""Makes reality equal to a plan: processes, journal, lock, health, router, and the engine emulator."""
