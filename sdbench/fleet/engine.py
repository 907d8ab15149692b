"""Works on a fleet to its end, over as many connections to the scheduler as that takes."""

import asyncio
import contextlib
from collections.abc import Callable

from sdbench.fleet.connection import (
    CONNECT_S,
    TERMINAL,
    Connection,
    new_client,
    no_route_words,
)
from sdbench.fleet.course import Course, End, Settings, Watcher
from sdbench.fleet.dispatch import Dispatcher
from sdbench.fleet.fleet_folder import FleetFolder
from sdbench.fleet.ledger import Ended, Lost

_AGAIN_AFTER_S = 1.0


class Engine:
    """Works on a fleet until it is done or somebody stops it."""

    def __init__(
        self,
        folder: FleetFolder,
        connection: Connection,
        watcher: Watcher,
        interrupted: Callable[[], bool],
        settings: Settings | None = None,
    ) -> None:
        self._course = Course(folder, watcher, interrupted, settings or Settings())
        self._connection = connection

    def run(self) -> End:
        """Work until the end, through whatever happens to scheduler and machines.

        Raises:
            StoreError: a record could not be written; all before it are kept.
        """
        return asyncio.run(self.work())

    async def work(self) -> End:
        """The same in a loop that runs already."""
        end = await self._work()
        self._course.folder.record(Ended(how=end))
        return end

    async def _work(self) -> End:
        course = self._course
        while True:
            try:
                return await self._connected()
            except (OSError, asyncio.TimeoutError) as error:
                self._lose_all(error)
            if (end := course.wanted_end()) is not None:
                return end
            if course.out_of_patience():
                return "no-machine"
            await asyncio.sleep(_AGAIN_AFTER_S)

    async def _connected(self) -> End:
        client = new_client(self._connection)
        try:
            await asyncio.wait_for(client, 2 * CONNECT_S)
            return await Dispatcher(self._course, client).work()
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(client.close(), CONNECT_S)

    def _lose_all(self, error: BaseException) -> None:
        """The scheduler is gone: nobody knows of any machine."""
        folder = self._course.folder
        lost = [
            Lost(machine=name, process=process, why="scheduler")
            for name, machine in folder.state.machines.items()
            for process in sorted(machine.processes)
        ]
        if lost:
            folder.record(*lost)
        why = no_route_words(error, TERMINAL) or str(error)
        self._course.watcher.says(
            f"no connection to {self._connection.address}: trying again ({why})"
        )
