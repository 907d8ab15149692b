"""The project's own speed, with pytest-benchmark; run by `make bench`, never asserted on in CI."""
