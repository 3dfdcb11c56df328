"""Parameter groups of an optimiser: rules by name, rates by depth, and state that follows its parameter by name."""

__all__ = []
