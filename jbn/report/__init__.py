"""A run's folder to one HTML page that needs nothing else.

Here is what needs no figure. `page.write_report` and `figures.draw_learning_curves` are imported
from their files: matplotlib takes longer to import than all of the rest.
"""

from jbn.report.results import load_curves as load_curves
from jbn.report.table import summary_table as summary_table
