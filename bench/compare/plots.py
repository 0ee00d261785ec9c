"""Bars as SVG: a figure of each proxy in relation to nginx, with the smallest and the largest value."""

from html import escape

WIDTH, LABEL, BAR, ROW, TOP = 850, 290, 400, 26, 46
# Bars beyond this are cut off; their number says how long they are.
LONGEST = 8
COLOURS = {"reference": "#6b7280", "gateway": "#b45309", "other": "#94a3b8"}


def bars(title, rows):
    """A picture of rows of (name, kind, ratio, least, most)."""
    longest = max((most for _, _, ratio, _, most in rows if ratio <= LONGEST), default=1.0)
    longest = max(longest, 1.2)
    height = TOP + ROW * len(rows) + 12

    def x(value):
        return LABEL + BAR * min(value / longest, 1.06)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
        'font-family="system-ui, sans-serif" font-size="13" role="img">',
        f"<title>{escape(title)}</title>",
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" font-size="15" font-weight="600" fill="#111827">{escape(title)}</text>',
    ]
    for at, (name, kind, ratio, least, most) in enumerate(rows):
        y = TOP + ROW * at
        middle = y + ROW / 2 - 3
        parts.append(f'<text x="{LABEL - 8}" y="{middle + 5:.0f}" text-anchor="end" fill="#111827">{escape(name)}</text>')
        parts.append(f'<rect x="{LABEL}" y="{y}" width="{x(ratio) - LABEL:.1f}" height="{ROW - 8}" rx="2" fill="{COLOURS[kind]}"/>')
        if ratio <= longest and most > least:
            parts.append(f'<line x1="{x(least):.1f}" x2="{x(most):.1f}" y1="{middle:.0f}" y2="{middle:.0f}" stroke="#111827"/>')
        label = f"{ratio:,.0f}" if ratio >= 20 else f"{ratio:.2f}"
        label += " (cut off)" if ratio > longest else ""
        end = max(x(ratio), x(most) if ratio <= longest else 0)
        parts.append(f'<text x="{end + 8:.1f}" y="{middle + 5:.0f}" fill="#111827">{label}</text>')
    one = x(1.0)
    bottom = TOP + ROW * len(rows)
    parts.append(f'<line x1="{one:.1f}" x2="{one:.1f}" y1="{TOP - 6}" y2="{bottom}" stroke="#111827" stroke-dasharray="3 3"/>')
    return "\n".join([*parts, "</svg>", ""])
