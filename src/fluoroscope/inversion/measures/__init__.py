"""What pictures of classes are worth: each measure with its reference values beside it."""
