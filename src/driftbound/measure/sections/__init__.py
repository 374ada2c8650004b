"""Sections of the measure: each asks one question of the panel and answers with measured numbers."""
