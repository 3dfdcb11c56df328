"""Files at URLs: a client over fsspec, a cache on disk, and the stores that read through it."""
