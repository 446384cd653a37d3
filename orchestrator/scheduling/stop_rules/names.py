"""What a trial's name says to a stop rule: which trials it competes with, and which draw of a search it is."""


def competitors(name: str) -> str:
    """The variant of the trial called ``name`` (``variant/seed-0[/lr=0.1]``): trials of one variant compete.

    Variants do not compete with one another. A network that learns slowly at first would be stopped by a fast one, and
    variants that were given different numbers of epochs could not be compared fairly.
    """
    return name.partition("/")[0]


def draw(name: str) -> str:
    """What tells the trial's settings from those of the others: its draw of the search, without a search its seed.

    It is the same for every variant, and for every seed of one draw.
    """
    _, _, rest = name.partition("/")
    seed, _, drawn = rest.partition("/")
    return drawn or seed
