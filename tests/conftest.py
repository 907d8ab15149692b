"""Signals as a terminal leaves them: what runs in the background, as CI may, would ignore Ctrl-C."""

import signal

signal.signal(signal.SIGINT, signal.default_int_handler)
for _number in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(_number, signal.SIG_DFL)
