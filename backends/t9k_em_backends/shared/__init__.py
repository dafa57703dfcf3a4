"""What several backends need: error codes, URI options, proxies, time limits, requests at once."""
