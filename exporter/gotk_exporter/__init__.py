"""gotk-exporter: the true state of every Flux object, as Prometheus metrics.

The rooms, from the outside in: ``cli`` turns arguments into one call of ``app``, which builds every part and owns
their tasks, or of ``demo`` or ``explain``, which stand upon it; ``web`` answers HTTP; ``kube`` follows the API
server; ``rules`` checks, renders and audits alert rules; ``simulator`` is an API server, with a fleet that behaves as
Flux does; ``config`` reads the settings file; ``flux`` knows each kind, judges each object and finds root causes;
``metrics`` says what is exported and how it is written. ``config``, ``flux``, ``metrics`` and a few modules of the
rooms (pyproject.toml lists them) are the core: they do no I/O and read no clock. ``telemetry`` (the exporter's own
counters), ``logs`` and ``clock`` serve the rooms that do.
"""

__version__ = "0.1.0"
