"""A fleet of Flux objects that moves as the real controllers move them.

``fleet.Fleet`` runs it upon a writer (stored.StoredObjects: an in-process storage) and a schedule.Schedule, whose time
is virtual or real. ``steps`` is what comes from outside, ``platform.build_fleet`` a fleet to look at, ``incidents`` a
story. Each kind's behaviour has a module: kustomizations, sources, charts, releases.

It follows what was recorded of the controllers, write by write. It imports nothing of ``flux`` but ``kinds``: what
judges and what is judged share no code.
"""
