"""What is made of measured values: medians, spreads, ratios."""

import statistics


class Figures:
    """All figures of a run: `values(figure, proxy)` is what each round gave."""

    def __init__(self, sections):
        self._figures = {}
        for section in sections.values():
            for name, found in section["figures"].items():
                self._figures[name] = found

    def __contains__(self, name):
        return name in self._figures

    def proxies(self, name):
        return list(self._figures.get(name, {}))

    def values(self, name, proxy):
        return self._figures.get(name, {}).get(proxy) or []

    def median(self, name, proxy):
        """The median, or None where nothing was measured."""
        values = self.values(name, proxy)
        return statistics.median(values) if values else None

    def ratio(self, name, proxy, reference):
        """The median in relation to another one's, or None."""
        mine, other = self.median(name, proxy), self.median(name, reference)
        return mine / other if mine is not None and other and other > 0 else None


def number(value, digits=1):
    """A number for a table: no more digits than say something."""
    if value is None:
        return "–"
    if abs(value) >= 1000:
        digits = 0
    return f"{value:,.{digits}f}"


def spread(values, digits=1):
    if len(values) < 2:
        return ""
    return f"{number(min(values), digits)} to {number(max(values), digits)}"


def times(ratio):
    """A ratio for a table."""
    if ratio is None:
        return "–"
    return f"{ratio:,.0f}x" if ratio >= 20 else f"{ratio:.2f}x"
