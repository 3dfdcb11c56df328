"""Text for models of the package transformers: documents, tokens, packed rows, masks, and the models themselves."""

__all__: list[str] = []
