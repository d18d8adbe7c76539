"""What a model's own files say: config.json and the headers of its weights."""
