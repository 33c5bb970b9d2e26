"""A run's folder to one HTML page that needs nothing else."""

from jbn.report.page import write_report as write_report
from jbn.report.table import summary_table as summary_table
