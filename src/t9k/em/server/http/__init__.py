"""What lies between the socket and the routes: connections, bodies, limits, middleware."""
