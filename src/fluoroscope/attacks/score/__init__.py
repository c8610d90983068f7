"""Without gradients: only the scores of the classes are read."""
