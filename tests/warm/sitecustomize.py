"""Loaded by every Python that a test starts with this folder on PYTHONPATH."""

import os

if "SDBENCH_TEST_WARM" in os.environ:
    import warm_client  # see warm_server.py

    warm_client.hand_over()
if "SDBENCH_TEST_PHASES" in os.environ:
    import phase_log

    phase_log.watch()
