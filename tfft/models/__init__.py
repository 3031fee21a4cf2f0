"""The GPT-2 family on TensorFlow: weights, forward pass, loading and checkpoints."""
