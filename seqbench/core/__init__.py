"""What everything stands on: errors, jobs, records, the store, checksums, provenance, metrics, display."""
