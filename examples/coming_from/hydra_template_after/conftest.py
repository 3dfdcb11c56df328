"""The tests find the task beside this file."""
