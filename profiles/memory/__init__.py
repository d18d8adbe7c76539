"""How much memory an engine takes: weights, activations, graphs, KV cache; what fits together."""
