"""An API server in process: what kubectl and our client speak, over real HTTP, with faults on demand.

``cluster.new_cluster`` makes the state (storage.Storage), which may be written in process; ``apiserver.ApiServer``
serves it. It imports nothing of ``flux`` but ``kinds``: what judges and what is judged share no code.
"""
