"""Pure translations between the protocols of clients and providers: decoded JSON in, decoded JSON out, no I/O."""
