"""Old names that go on working and warn: modules that moved, attributes and methods that were renamed."""

__all__: list[str] = []
