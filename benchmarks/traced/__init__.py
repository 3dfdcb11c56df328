"""Examples of tools that say why training is slow, as tasks of accel and as plain loops: the same networks, data and delays."""
