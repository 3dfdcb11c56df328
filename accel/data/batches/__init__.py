"""Batches of an epoch, made from a data set: order, share of a rank, bad samples, collation."""
