"""Reasons not to trust a robust accuracy: checks of the network and of how attacks fare on it."""
