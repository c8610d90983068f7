"""One change for many pictures."""
