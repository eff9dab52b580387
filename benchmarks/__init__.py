"""One question per file. Each checks its answer before it reports a speed; nothing here is used by the product."""
