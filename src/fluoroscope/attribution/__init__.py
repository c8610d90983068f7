"""Maps of a decision: which pixels it depends on, and whether such a map can be believed."""
