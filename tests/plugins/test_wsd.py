"""Its values against torch's and transformers' stand in tests/invariants/test_warmed_schedules.py."""
