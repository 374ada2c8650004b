"""Teachers: sources of answers, and the collector that asks them all."""
