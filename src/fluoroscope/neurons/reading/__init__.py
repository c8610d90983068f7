"""Reading what the units of a layer give out."""
