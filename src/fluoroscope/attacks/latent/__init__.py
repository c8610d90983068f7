"""By way of the latent of an invertible network."""
