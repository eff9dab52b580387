"""What it costs: one question per file, and each checks its answer before it reports a speed."""
