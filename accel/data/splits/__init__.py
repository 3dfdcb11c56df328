"""Splits: which folder, store or shards a split of a data set is, and whether a store holds the samples of the data set."""
