"""What goes along with a training: averages of the weights, perturbations, watches."""
