"""Jobs, from a plan to their end."""

import launcher.config.resolvers  # noqa: F401 - a run's config is read where it works
