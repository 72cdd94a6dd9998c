from tasks import lean

lean.install()  # before a task imports torch
