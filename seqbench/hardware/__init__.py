"""The machine: devices, counters, leases, environment, and what it does at best."""
