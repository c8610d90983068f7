"""Whether what a unit answers to survives an attack."""
