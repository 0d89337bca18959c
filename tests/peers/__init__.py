"""Real peers of the test-suite: etcd, kube-apiserver, Prometheus, Alertmanager, and how they are got and started.

Nothing here imports the package under test: a peer is an outside oracle.
"""
