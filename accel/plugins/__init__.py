"""The plugins that come with accel, each in a file of its own name and imported when first asked for."""
