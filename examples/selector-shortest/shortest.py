"""Take the shortest answer that is long enough: a selector in ten lines."""

from fanin import Ballot, Selection, selector


@selector(abstains=True)
def shortest(ballot: Ballot, *, at_least: int = 1) -> Selection | None:
    """Return the shortest of the answers with at least so many characters; of equal ones the higher priority's."""
    long_enough = [c for c in ballot.ranked() if len(c.text) >= at_least]
    if not ballot.closed or not long_enough:
        return None
    return Selection(min(long_enough, key=lambda c: len(c.text)), f"the shortest of {len(long_enough)}")
