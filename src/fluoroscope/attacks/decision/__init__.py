"""Without gradients or scores: only the class that wins is read."""
