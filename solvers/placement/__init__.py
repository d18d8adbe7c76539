"""From counts to names: nodes, GPUs and start slots."""
