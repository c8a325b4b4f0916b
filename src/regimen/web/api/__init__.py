"""`/api/v1`: JSON in, a service, JSON out. A file is a group of routes; `router` is what it adds."""
