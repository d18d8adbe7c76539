"""The GPUs of this machine as the NVIDIA driver tells and sets them, through NVML."""
