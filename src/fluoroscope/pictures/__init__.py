"""How pictures become tensors, and tensors become pictures, maps and plots."""
