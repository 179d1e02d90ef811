"""The engine of the relational layers: Daft, on the native runner here or on Ray beyond one machine; nothing else differs.

`Engine.map` runs a function over items, one process each (Ray: one task each); `Engine.daft()` is the module, its runner set and its
telemetry off (with telemetry on, Daft 0.7.26 crashed at exit in 7 of 38 runs).
"""
