"""Text <-> ids. Nothing here imports torch: a tokenizer is usable from a REPL in milliseconds."""
