"""Lines of code on which a run spends its time, and the time that it spends outside of operators."""

__all__: list[str] = []
