"""What can be told of an expression or a template of a rule without any series: its labels, its values, its faults."""
