"""What all workers of one gateway do together, or what a single process does."""

from gateway.backend.policy.breaker import Breaker, BreakerStatus
from gateway.interprocess.scoreboard import Row, Scoreboard
from gateway.record.in_flight import InFlight


class AcrossWorkers:
    """Reads the scoreboard if several processes serve, otherwise the live objects of this process."""

    def __init__(self, in_flight: InFlight, breaker: Breaker, scoreboard: Scoreboard | None) -> None:
        self._in_flight = in_flight
        self._breaker = breaker
        self._scoreboard = scoreboard

    @property
    def rows(self) -> list[Row]:
        """The scoreboard's rows, one per worker; none if one process serves alone."""
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
        """The status of the circuit breaker; with several workers, the worst."""
        return self._scoreboard.breaker if self._scoreboard else self._breaker.status
