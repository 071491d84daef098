"""What all workers of one gateway do together; with one process, what that does."""

from gateway.backend.policy.breaker import Breaker, BreakerStatus
from gateway.interprocess.scoreboard import Row, Scoreboard
from gateway.record.in_flight import InFlight


class AcrossWorkers:
    """Asks the scoreboard where several processes serve, else the live objects of this one."""

    def __init__(self, in_flight: InFlight, breaker: Breaker, scoreboard: Scoreboard | None) -> None:
        self._in_flight = in_flight
        self._breaker = breaker
        self._scoreboard = scoreboard

    @property
    def rows(self) -> list[Row]:
        """The scoreboard's rows, one for each worker; none where one process serves alone."""
        return self._scoreboard.rows if self._scoreboard else []

    @property
    def count(self) -> int:
        """How many processes serve."""
        return len(self.rows) if self._scoreboard else 1

    @property
    def streams(self) -> int:
        """How many answers are in progress."""
        return self._scoreboard.streams if self._scoreboard else self._in_flight.count

    @property
    def breaker(self) -> BreakerStatus:
        """The status of the circuit breaker; of several, the worst."""
        return self._scoreboard.breaker if self._scoreboard else self._breaker.status
