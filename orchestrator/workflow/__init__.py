"""What the commands do, as functions that take values and return values; the command line and ``orc`` call them."""
