"""How runs end: their statuses, what is kept of an exception, and what is done when the process leaves."""
