"""Signals and a closed screen."""
