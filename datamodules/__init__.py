"""Text to batches: readers -> sources -> split -> prepare -> token files -> windows -> a LightningDataModule."""
