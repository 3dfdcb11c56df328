"""What shapes a model while it trains, so that it is smaller or faster afterwards."""
