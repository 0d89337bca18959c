"""gotk-exporter: the true state of every Flux object, as Prometheus metrics.

The rooms, from the outside in: ``cli`` turns arguments into one call of ``app``, which builds every part and owns
their tasks; ``web`` answers HTTP; ``kube`` follows the API server; ``config`` reads the settings file; ``flux`` knows
each kind and judges each object; ``metrics`` says what is exported and how it is written. ``config``, ``flux``,
``metrics`` and ``kube.watch`` are the core: they do no I/O and read no clock. ``telemetry`` (the exporter's own
counters), ``logs`` and ``clock`` serve the rooms that do.
"""

__version__ = "0.1.0"
