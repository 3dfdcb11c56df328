"""The targets of an export: one file each, one contract (`accel.export.target.Target`)."""

__all__: list[str] = []
