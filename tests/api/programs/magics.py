"""Cells for engines, as a notebook has them."""

from IPython.core.interactiveshell import InteractiveShell

import ipyviews as ipp

shell = InteractiveShell.instance()
shell.run_line_magic("load_ext", "ipyviews")

cluster = ipp.Cluster(n=2)
rc = cluster.start_and_connect_sync(activate=True)
dv = rc[:]
dv.block = True

shell.run_line_magic("px", "a = 5")
assert dv["a"] == [5, 5]
shell.run_cell_magic("px", "--targets 0", "a = 6")
assert dv["a"] == [6, 5]
shell.run_cell_magic("px", "--noblock --out kept", "b = a * 2")
assert shell.user_ns["kept"].wait(30)
assert dv["b"] == [12, 10]
shell.run_line_magic("pxresult", "")
shell.run_line_magic("pxconfig", "--verbose")

rc[::2].activate("_even")
shell.run_cell_magic("px_even", "", "print('only', 0)\nc = 1")
assert rc[0]["c"] == 1
rc[0].activate("0")
shell.run_line_magic("px0", "d = 2")
assert rc[0]["d"] == 2

shell.run_line_magic("autopx", "")
shell.run_cell("e = 3")
shell.run_line_magic("autopx", "")
assert "e" not in shell.user_ns
assert dv["e"] == [3, 3]

rc.close()
cluster.stop_cluster_sync()
print("done")
