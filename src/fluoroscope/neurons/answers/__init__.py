"""What a unit answers to: pictures and patches, classes, concepts, names."""
