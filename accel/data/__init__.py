"""What the input pipeline is made of."""
