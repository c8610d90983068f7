"""What a portrait is to excite: classes, neurons, channels, directions; they add and multiply."""
