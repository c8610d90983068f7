"""Networks around a network: several as one, an average, a faster copy, another input."""
