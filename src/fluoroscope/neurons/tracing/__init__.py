"""Which units decided, and which changed their mind."""
