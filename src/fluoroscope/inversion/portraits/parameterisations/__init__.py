"""What a portrait is made of: pixels, frequencies, phases or sizes; each turns it into pixels."""
