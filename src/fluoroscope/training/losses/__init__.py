"""What is lowered in a training, beyond the plain cross-entropy."""
