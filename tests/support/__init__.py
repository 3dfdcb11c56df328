"""Helpers of the tests: trainers, data sets, stand-ins and worker processes that several test files use."""
