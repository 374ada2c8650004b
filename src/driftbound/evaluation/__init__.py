"""Evaluation: answers of teachers and students against truth."""
