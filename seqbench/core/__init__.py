"""What everything stands on: errors, jobs, records, the store, provenance, metrics, display."""
