"""What is known about GPUs, models and engines: catalogue, memory model, step-time and capacity model."""
