"""The report: pages of one run or several, each a single HTML file that asks no host for anything."""

__all__: list[str] = []
