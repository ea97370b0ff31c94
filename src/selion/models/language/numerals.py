"""Numbers that are written digit by digit."""


def may_become(typed: str, least: int, bound: int) -> bool:
    """Say whether digits begin a number of ``least`` or more and below ``bound``."""
    low = high = int(typed)
    while typed[0] != "0" and low < bound:
        if max(low, least) <= min(high, bound - 1):
            return True
        low, high = low * 10, high * 10 + 9
    return False
