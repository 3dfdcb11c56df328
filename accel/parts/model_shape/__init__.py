"""The model's shape: the parts that change its modules, and the structure by which it is built again."""

__all__: list[str] = []
