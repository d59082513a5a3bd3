"""How any guest CPU runs: encoding patterns, decoder, threaded interpreter, soft MMU, vCPU loop."""
