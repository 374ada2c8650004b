"""Measure: where teachers agree, conflict and drift, read from their claims."""
