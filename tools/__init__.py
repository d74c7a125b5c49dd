"""Tools around the benchmark. They may import it; nothing in it imports them."""
