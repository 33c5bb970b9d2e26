"""A run's folder to one HTML page that needs nothing else."""

from jbn.report.figures import draw_learning_curves as draw_learning_curves
from jbn.report.page import write_report as write_report
from jbn.report.results import load_curves as load_curves
from jbn.report.style import to_svg as to_svg
from jbn.report.table import summary_table as summary_table
