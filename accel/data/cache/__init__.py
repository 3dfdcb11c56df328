"""What was read once is kept."""
