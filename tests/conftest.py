"""Signals as a terminal leaves them: a job in the background, as in some CIs, ignores Ctrl-C."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)
