"""DeepLIFT's rescale rule for each operation: how a difference before it becomes one behind it."""
