from __future__ import annotations

import torch

from autokd.train import workshop


def test_a_workshop_that_is_told_no_number_of_threads_takes_no_more_than_are_granted(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(workshop, "cpus", lambda: 2)
    try:
        torch.set_num_threads(7)
        workshop.Workshop()
        assert torch.get_num_threads() == 2
        torch.set_num_threads(1)  # as OMP_NUM_THREADS may have asked for
        workshop.Workshop()
        assert torch.get_num_threads() == 1
        workshop.Workshop(threads=3)
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
