"""signSGD as a plugin for accel."""
