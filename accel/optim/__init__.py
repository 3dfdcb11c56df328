"""What optimiser plugins are made of."""
