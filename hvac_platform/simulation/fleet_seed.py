"""Which machines are simulated into a store: their seed is kept there, so that going on streams the same ones."""

from __future__ import annotations

from hvac_platform.stores.base import Store

SIMULATION_SEED = "simulation_seed"
FIRST_SEED = 1
"""Seed of the first simulation into a store where none is asked for."""


def seed_of_fleet(store: Store, asked: int | None) -> tuple[int, str | None]:
    """Seed of a simulation, remembered for those that follow.

    A device's individuality comes from the seed and its id, so another seed streams other machines under the same ids, and
    what was learned of the ones before makes healthy devices look ill. Whoever asks for it gets it, and is told.

    Args:
        store: which the simulated devices are of.
        asked: what the user asked for; None goes on with the machines that are there.

    Returns:
        The seed, and a line to tell where other machines take the place of those that are there.
    """
    remembered = store.remembered().get(SIMULATION_SEED)
    if remembered is None:
        seed = FIRST_SEED if asked is None else asked
        store.remember(SIMULATION_SEED, str(seed))
        return seed, None
    before = int(remembered)
    if asked is None or asked == before:
        return before, None
    store.remember(SIMULATION_SEED, str(asked))
    return asked, (
        f"warning: {store.location} has simulated devices of seed {before}; --seed {asked} makes other machines of the "
        f"same ids, which profiles learned so far don't fit. Without --seed it goes on with {asked} from now on"
    )
