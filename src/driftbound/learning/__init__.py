"""The only home of torch: models, scoring, objectives and the trainer."""
