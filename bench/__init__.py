"""What the gateway costs, measured from outside: CPU, memory and added latency of `hedgerow serve` as it is shipped."""
