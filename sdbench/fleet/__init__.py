"""Many machines as one benchmark: slots of a plan, handed to Dask workers.

The ledger and the certificates need no Dask; :mod:`~sdbench.fleet.engine` and
:mod:`~sdbench.fleet.serve` do.
"""
