"""What lies under outputs/: run folders found, named, listed, compared and removed. Nothing heavy is imported."""
