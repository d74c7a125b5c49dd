"""Training one model and ranking with it, in a supervised process; the search for settings."""
