"""FC-Siam: two dates, one encoder."""
