"""What one job leaves behind must not reach the next."""

import torch

from launcher.jobs.state import isolated


def test_N7_what_one_job_compiled_does_not_count_against_the_next():
    """torch.compile gives up on a function after eight compilations: the ninth job of a sweep would run uncompiled."""
    compiled = []

    def backend(graph, inputs):
        compiled.append(graph)
        return graph.forward

    def job():
        with isolated():
            double = torch.compile(lambda x: x * 2, backend=backend, dynamic=False)
            for rows in (1, 2, 3):
                double(torch.ones(rows))

    for _ in range(2):
        job()
    assert len(compiled) == 6
