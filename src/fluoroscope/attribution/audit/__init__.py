"""Whether a method's maps can be believed on one network: what is looked at, and what it says."""
