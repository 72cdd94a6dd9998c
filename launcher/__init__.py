"""From a command line to a running job: composing, strict checking, help, run folders, ranks. No torch at import."""
