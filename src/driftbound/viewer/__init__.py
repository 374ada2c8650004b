"""Viewer: a local web application to look at a run, case by case."""
