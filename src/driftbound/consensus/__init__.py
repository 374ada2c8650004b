"""One trajectory per case out of many: prompts, synthesis and the gate."""
