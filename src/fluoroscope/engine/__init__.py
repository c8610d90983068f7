"""The one place that evaluates networks, and the one loop that drives them."""
