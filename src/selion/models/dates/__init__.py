"""Any number of dates, any of the bands: what is not there is said so."""
