"""How long tests wait for a process before they say that it hangs."""

PATIENCE = 1200  # seconds; what takes a minute alone takes ten beside tests and a training, which is no defect
