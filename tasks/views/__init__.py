"""What task=inspect can show: one file per view, `show(cfg, run)`, chosen by inspect.view=<name of the file>."""
