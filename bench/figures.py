"""Formats figures: medians, percentiles, and the rows of the table."""

import statistics
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """All measurements of one quantity, in one unit."""

    values: list[float]
    unit: str

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def lower_quartile(self) -> float:
        return statistics.quantiles(self.values, n=4, method="inclusive")[0]

    @property
    def p95(self) -> float:
        return statistics.quantiles(self.values, n=20, method="inclusive")[-1]

    def __str__(self) -> str:
        """The median. For times with 20 measurements or more, the 95th percentile as well."""
        if self.unit != "ms" or len(self.values) < 20:
            return f"{rounded(self.median)} {self.unit}"
        return f"{rounded(self.median)} {self.unit} (p95 {rounded(self.p95)})"


@dataclass(frozen=True)
class Row:
    """One row of the table. `reached` is None if there is no target."""

    what: str
    ours: str
    peer: str = "–"
    ratio: str = "–"
    runs: str = "1 / 1"
    target: str = "–"
    reached: bool | None = None

    def __str__(self) -> str:
        verdict = {None: "–", True: "yes", False: "**missed**"}[self.reached]
        cells = (self.what, self.ours, self.peer, self.ratio, self.runs, self.target, verdict)
        return f"| {' | '.join(cells)} |"


HEAD = (
    "| what | ours | peer | peer ÷ ours | runs, ours / peer | target | reached |\n"
    "| --- | --- | --- | --- | --- | --- | --- |"
)


def compared(what: str, ours: Figure, peer: Figure, target: str = "–", reached: bool | None = None) -> Row:
    """Returns a row that compares two figures."""
    return Row(
        what,
        str(ours),
        str(peer),
        f"{rounded(peer.median / ours.median)}×",
        f"{len(ours.values)} / {len(peer.values)}",
        target,
        reached,
    )


def rounded(number: float) -> str:
    """Formats a number with three significant digits; numbers from 100 on as integers."""
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
