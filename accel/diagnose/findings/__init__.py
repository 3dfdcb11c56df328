"""Rules that find in a table of layers what makes a model slow. They are pure functions: nothing is measured or asked."""

__all__: list[str] = []
