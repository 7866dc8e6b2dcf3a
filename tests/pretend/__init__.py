"""Pretend CRMs, one module per kind: each has a memory, and the limits, error bodies and habits of its contract."""
