"""What docs/deploy.md shows, to be run as it stands there."""

import re

from programs import ROOT

DEPLOY = (ROOT / "docs/deploy.md").read_text()


def section(heading):
    """The text of a section, without those below it that have headings of the same level."""
    level = re.search(rf"^(#+) {re.escape(heading)}$", DEPLOY, re.MULTILINE)
    rest = DEPLOY[level.end() :]
    end = re.search(rf"^#{{1,{len(level[1])}}} ", without_code(rest), re.MULTILINE)
    return rest[: end.start()] if end else rest


def without_code(text):
    """The text with blanks in place of its code."""
    return re.sub(r"^```.*?^```$", lambda block: re.sub(r"[^\n]", " ", block[0]), text, flags=re.MULTILINE | re.DOTALL)


def blocks(heading, language):
    """The blocks of code of a language in a section."""
    return re.findall(rf"^```{language}\n(.*?)^```$", section(heading), re.MULTILINE | re.DOTALL)
