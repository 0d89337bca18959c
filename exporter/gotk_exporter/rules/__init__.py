"""Rule files: where ours are, what is wrong with a file, how it becomes an object for the operator, and which can fire.

``shipped`` finds our own files; ``nodes``, ``files`` and ``testfiles`` read what anybody wrote, with the line of each
rule and test; ``promtool`` runs Prometheus's own tool, the only judge of a rule here, ``complaints`` understands what
it says, and ``places`` where that is; ``render`` writes PrometheusRule objects; ``report`` puts results into words or
JSON. ``audit`` asks a Prometheus (``prometheus_api``) for its rules and for what has series; ``expressions`` says
what a rule needs, ``known_metrics`` what is known of metrics, ``findings`` which rules can never fire, and
``audit_report`` puts that into words. Nothing here prints.
"""
