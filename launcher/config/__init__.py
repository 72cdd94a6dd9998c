"""Configs: composed, checked, read again."""

import launcher.config.resolvers  # noqa: F401 - wherever a config is read, what it computes with is known
