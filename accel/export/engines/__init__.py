"""Engines that several targets have: how torch and ONNX Runtime run files, and tell the values of layers."""

__all__: list[str] = []
