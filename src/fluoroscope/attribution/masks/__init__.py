"""Maps without gradients: parts of a picture are hidden, and the class is asked for again."""
