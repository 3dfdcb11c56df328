"""Which store a split is."""
