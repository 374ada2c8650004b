"""Simulations that calibrate the measure stage; ``python -m benchmarks.measure_calibration`` runs them."""
