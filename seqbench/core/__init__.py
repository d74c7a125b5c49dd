"""What everything stands on: errors, jobs, records, the store and what machines pool, checksums, provenance, metrics, display."""
