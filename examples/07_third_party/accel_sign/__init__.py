"""signSGD for accel."""
