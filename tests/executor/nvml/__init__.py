"""The GPUs of a machine, on a driver of our own."""
