"""From a command line to a running job: composing, strict checking, help, run folders, ranks. No torch at import."""

import launcher.config.resolvers  # noqa: F401 - wherever a config is read, what it computes with is known
