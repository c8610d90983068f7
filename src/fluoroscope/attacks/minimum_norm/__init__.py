"""The closest success, by gradients."""
